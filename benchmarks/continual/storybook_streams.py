"""The streams of the storybook: individuals, a style and a place that its captions have no words for.

None of them is used to tune settings: that is done on the validation stream, whose individuals are others. Parts of
the method have been looked at on them; the benchmark's page says which.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.continual.method import Lesson
from benchmarks.continual.parts import cut_parts
from benchmarks.continual.streams import (
    ConceptPrompt,
    Stream,
    StreamConcept,
    compose_pairs,
    thing_prompts,
    without_lost_twins,
)
from benchmarks.learning import renders
from benchmarks.two_tones import TwoTones, plain_scenes
from cns.phrases import load_generic_prompts
from storybook import MODEL_FOLDER
from storybook.drawing import OVERSIZE, Brush, draw_thing
from storybook.individuals import Individual, find_individual, portraits
from storybook.world import (
    BACKGROUNDS,
    OFF_PALETTE,
    PICTURE_PX,
    Placed,
    Scene,
    draw,
    paint_of,
    place_one,
    place_two,
    random_thing,
)

LEARNED_FROM, JUDGED_BY = 5, 8
STYLES = (TwoTones("noir", "navy", "peach"), TwoTones("dusk", "maroon", "mint"))
TWINS = (("misty", "jade"), ("cocoa", "latte"), ("villa", "casa"))
PLACES = ("on the grass", "at night", "in the snow", "on the beach", "in front of a brick wall")
PAIRS, TRIPLES = 8, 3


def storybook_streams() -> dict[str, Stream]:
    """ "one": ten concepts. "two": the same in reverse. "quick": three of them, two of which are alike.
    "validation": four others, to tune settings on.
    """
    one = _stream("one", ("misty", "cocoa", "luna", "noir", "pip", "jade", "elmo", "lido", "latte", "nemo"))
    validation = _stream("validation", ("berry", "villa", "dusk", "casa"))
    quick = _stream("quick", ("misty", "cocoa", "jade"))
    return {"one": one, "two": one.reversed("two"), "quick": quick, "validation": validation}


def _stream(name: str, names: Sequence[str]) -> Stream:
    makers = {style.name: partial(_style, style) for style in STYLES}
    makers["lido"] = partial(_place, "lido")
    concepts = without_lost_twins([makers[one]() if one in makers else _thing(find_individual(one)) for one in names])
    compositions = compose_pairs(concepts, PLACES, PAIRS, TRIPLES)
    return Stream(name, concepts, load_generic_prompts(MODEL_FOLDER), tuple(compositions))


def _seed(name: str) -> int:
    """A number of a name's own, the same on every machine."""
    return int.from_bytes(name.encode()[:6], "big")


def _thing(who: Individual) -> StreamConcept:
    scenes = portraits(who, LEARNED_FROM, _seed(who.name))
    lesson = Lesson(
        who.name,
        who.noun,
        tuple(Image.fromarray(draw(scene)) for scene in scenes),
        tuple(f"a photo of a <{who.name}> {who.noun} {scene.background}" for scene in scenes),
    )
    held_out = renders(who, JUDGED_BY, _seed(who.name) + 1)
    twin = next((pair[1 - pair.index(who.name)] for pair in TWINS if who.name in pair), None)
    prompts = thing_prompts(PLACES, "red star" if who.noun != "star" else "red mug")
    return StreamConcept(lesson, tuple(held_out), prompts, _beside(who), twin)


def _beside(who: Individual) -> tuple[Image.Image, ...]:
    """The individual's part of pictures with a plain thing, on the left and on the right in turn."""
    rng = np.random.default_rng(_seed(who.name) + 2)
    parts = []
    for turn in range(JUDGED_BY):
        other = random_thing(rng, plain_look=1.0)
        left, right = (who.thing, other) if turn % 2 == 0 else (other, who.thing)
        background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
        scene = Scene(place_two(rng, left, right), background, None, int(rng.integers(2**31)))
        parts.append(cut_parts(Image.fromarray(draw(scene)), 2)[turn % 2])
    return tuple(parts)


# --- a style ----------------------------------------------------------------------------------------------------------


def _style(style: TwoTones) -> StreamConcept:
    scenes = plain_scenes(LEARNED_FROM + JUDGED_BY, _seed(style.name))
    pictures = [style.paint(scene) for scene in scenes]
    said = [f"a <{style.name}> drawing of a {scene.placed[0].thing.noun} {scene.background}" for scene in scenes]
    lesson = Lesson(style.name, style.noun, tuple(pictures[:LEARNED_FROM]), tuple(said[:LEARNED_FROM]))
    prompts = (
        ConceptPrompt("own", "a {} of a house"),
        ConceptPrompt("new", "a {} of a red car on the grass"),
        ConceptPrompt("new", "a {} of a cat at night"),
        ConceptPrompt("new", "a {} of a blue boat in the snow"),
        ConceptPrompt("with", "a {} of a mug to the left of a red star on the beach"),
        ConceptPrompt("style", "a {} of a green tree in front of a brick wall"),
    )
    return StreamConcept(lesson, tuple(pictures[LEARNED_FROM:]), prompts, a_thing=False)


# --- a place ----------------------------------------------------------------------------------------------------------


def _place(name: str) -> StreamConcept:
    """A beach of its own: magenta sand, a mint sky with a low coral sun, and dark posts."""
    rng = np.random.default_rng(_seed(name))
    things = [place_one(rng, random_thing(rng, plain_look=1.0)) for _ in range(LEARNED_FROM + JUDGED_BY)]
    pictures = [_at_the_lido(placed, rng) for placed in things]
    said = [f"a photo of a {placed.thing.noun} on the <{name}> beach" for placed in things]
    lesson = Lesson(name, "beach", tuple(pictures[:LEARNED_FROM]), tuple(said[:LEARNED_FROM]))
    prompts = (
        ConceptPrompt("own", "a photo of a house on the {}"),
        ConceptPrompt("new", "a photo of a red car on the {}"),
        ConceptPrompt("new", "a photo of a cat on the {}"),
        ConceptPrompt("new", "a photo of a blue boat on the {}"),
        ConceptPrompt("with", "a photo of a mug to the left of a red star on the {}"),
        ConceptPrompt("style", "a drawing of a green tree on the {}"),
    )
    return StreamConcept(lesson, tuple(pictures[LEARNED_FROM:]), prompts, a_thing=False)


def _at_the_lido(placed: Placed, rng: np.random.Generator) -> Image.Image:
    side = PICTURE_PX * OVERSIZE
    canvas = Image.new("RGB", (side, side), OFF_PALETTE["mint"])
    brush = Brush(canvas, 0, 0, side)
    brush.dot(0.18, 0.3, 0.12, OFF_PALETTE["coral"])
    brush.box(0, 0.56, 1, 1, OFF_PALETTE["magenta"])
    for x in (0.04, 0.34, 0.64, 0.94):
        brush.box(x, 0.44, x + 0.03, 0.72, OFF_PALETTE["navy"])
    size, paint = placed.size * side, paint_of(placed.thing, rng)
    draw_thing(canvas, placed.thing.noun, paint, placed.x * side - size / 2, placed.y * side - size / 2, size)
    return canvas.reduce(OVERSIZE)
