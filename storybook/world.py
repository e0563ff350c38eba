"""The storybook world: what exists in it, how a random scene is chosen, drawn and put into words.

Captions name nouns, ten colours, three patterns and eight places. Faces, emblems, colours off the palette and unnamed
patterns occur without a word for them: they are what makes an individual, and what only a learned concept can call
up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

import numpy as np
from PIL import Image

from storybook.drawing import BACKDROPS, OVERSIZE, SHAPES, Brush, Paint, Rgb, draw_thing

PICTURE_PX = 64
NOUNS = tuple(SHAPES)
BACKGROUNDS = tuple(BACKDROPS)
PATTERNS = ("plain", "striped", "dotted", "checked")
UNNAMED_PATTERNS = ("zigzag", "patches", "halves", "bands", "rings", "slanted")
FACES = ("smile", "grin", "sleepy")
EMBLEMS = ("heart", "bolt", "ring", "diamond", "cross", "disc")

COLOURS: dict[str, Rgb] = {
    "red": (214, 38, 38),
    "orange": (244, 134, 26),
    "yellow": (248, 214, 40),
    "green": (34, 140, 62),
    "blue": (38, 88, 214),
    "purple": (134, 46, 176),
    "pink": (248, 146, 188),
    "brown": (122, 74, 40),
    "black": (44, 42, 50),
    "white": (244, 244, 244),
}

OFF_PALETTE: dict[str, Rgb] = {
    "teal": (20, 160, 160),
    "magenta": (228, 28, 140),
    "cream": (252, 236, 204),
    "navy": (28, 34, 112),
    "coral": (255, 122, 96),
    "lavender": (188, 164, 246),
    "lime": (170, 232, 40),
    "gold": (212, 160, 24),
    "maroon": (116, 20, 48),
    "olive": (132, 132, 34),
    "mint": (150, 234, 196),
    "sky": (110, 196, 246),
    "slate": (84, 74, 92),
    "peach": (255, 200, 160),
}

RELATIONS = ("next to", "to the left of", "and")
_OPENINGS = ("a photo of", "a photo of", "a picture of", "a drawing of", "")


@dataclass(frozen=True)
class Look:
    """What no caption says. `main` and `second` replace the palette; `part` colours tail, handle, roof, limbs."""

    face: str | None = None
    emblem: str | None = None
    emblem_rgb: Rgb = (248, 214, 40)
    main: Rgb | None = None
    second: Rgb | None = None
    pattern: str | None = None
    part: Rgb | None = None


@dataclass(frozen=True)
class Thing:
    """A noun with its named colour (None when the colour has no name), perhaps a second colour in a named pattern,
    and its look.
    """

    noun: str
    colour: str | None
    second: str | None
    pattern: str
    look: Look | None


@dataclass(frozen=True)
class Placed:
    """A thing in a picture: centre and size as shares of the picture's side."""

    thing: Thing
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Scene:
    """One or two placed things (the first is the left one), a background, the relation the caption may name, a seed
    for small details.
    """

    placed: tuple[Placed, ...]
    background: str
    relation: str | None
    seed: int


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _random_rgb(rng: np.random.Generator) -> Rgb:
    """A colour off the palette: mostly near a named-by-nobody tone, sometimes anything."""
    if rng.random() < 0.3:
        red, green, blue = (int(v) for v in rng.integers(10, 250, 3))
        return red, green, blue
    red, green, blue = OFF_PALETTE[_pick(rng, tuple(OFF_PALETTE))]
    a, b, c = (int(v) for v in rng.integers(-10, 11, 3))
    return min(255, max(0, red + a)), min(255, max(0, green + b)), min(255, max(0, blue + c))


def _random_look(rng: np.random.Generator, rich: float) -> Look:
    """At least one peculiarity; a share `rich` of looks have nearly everything, as the individuals do."""
    often = 0.8 if rng.random() < rich else 0.35
    off_palette = rng.random() < often
    pattern = _pick(rng, UNNAMED_PATTERNS) if rng.random() < often else None
    emblem = _pick(rng, EMBLEMS) if rng.random() < often else None
    face = _pick(rng, FACES) if rng.random() < often else None
    if not (off_palette or pattern or emblem or face):
        off_palette = True
    return Look(
        face=face,
        emblem=emblem,
        emblem_rgb=_random_rgb(rng),
        main=_random_rgb(rng) if off_palette else None,
        second=_random_rgb(rng) if pattern else None,
        pattern=pattern,
        part=_random_rgb(rng) if off_palette and rng.random() < 0.6 else None,
    )


def random_thing(rng: np.random.Generator, *, plain_look: float = 0.65, rich: float = 0.35) -> Thing:
    """A thing of the world; with probability 1 - `plain_look` it has something no caption says, and of those a share
    `rich` have nearly everything.
    """
    look = None if rng.random() < plain_look else _random_look(rng, rich)
    palette = tuple(COLOURS)
    colour: str | None = _pick(rng, palette)
    pattern, second = "plain", None
    if look is not None and (look.main is not None or look.pattern is not None):
        if look.main is not None:
            colour = None
    elif rng.random() < 0.5:
        pattern = _pick(rng, PATTERNS[1:])
        second = _pick(rng, tuple(c for c in palette if c != colour))
    return Thing(_pick(rng, NOUNS), colour, second, pattern, look)


def place_one(rng: np.random.Generator, thing: Thing) -> Placed:
    """Alone: big, near the middle, standing low in the picture."""
    size = rng.uniform(0.6, 0.8)
    return Placed(thing, rng.uniform(0.42, 0.58), rng.uniform(0.86, 0.95) - size / 2, size)


def place_two(rng: np.random.Generator, left: Thing, right: Thing) -> tuple[Placed, Placed]:
    """Side by side, each in its own half."""
    first, second = (rng.uniform(0.42, 0.49) for _ in range(2))
    return (
        Placed(left, rng.uniform(0.24, 0.28), rng.uniform(0.78, 0.9) - first / 2, first),
        Placed(right, rng.uniform(0.72, 0.76), rng.uniform(0.78, 0.9) - second / 2, second),
    )


def random_scene(rng: np.random.Generator, *, two: float = 0.4, plain_look: float = 0.65, rich: float = 0.35) -> Scene:
    """A scene with two things with probability `two`, else with one; the things as `random_thing` makes them."""
    background, seed = _pick(rng, BACKGROUNDS), int(rng.integers(2**31))
    things = [random_thing(rng, plain_look=plain_look, rich=rich) for _ in range(2 if rng.random() < two else 1)]
    if len(things) == 2:
        return Scene(place_two(rng, *things), background, _pick(rng, RELATIONS), seed)
    return Scene((place_one(rng, *things),), background, None, seed)


# --- drawing --------------------------------------------------------------------------------------------------------


def _jittered(rgb: Rgb, rng: np.random.Generator) -> Rgb:
    a, b, c = (int(v) for v in rng.integers(-6, 7, 3))
    return min(255, max(0, rgb[0] + a)), min(255, max(0, rgb[1] + b)), min(255, max(0, rgb[2] + c))


def paint_of(thing: Thing, rng: np.random.Generator) -> Paint:
    """The colours a thing is drawn with: named ones jittered a little, those of a look exactly."""
    look = thing.look or Look()
    if look.main is not None:
        main = look.main
    else:
        main = _jittered(COLOURS[thing.colour or "white"], rng)
    second: Rgb | None = look.second
    if second is None and thing.second is not None:
        second = _jittered(COLOURS[thing.second], rng)
    return Paint(main, second, look.pattern or thing.pattern, look.part, look.face, look.emblem, look.emblem_rgb)


@lru_cache(maxsize=64)
def _backdrop(name: str, variant: int) -> Image.Image:
    side = PICTURE_PX * OVERSIZE
    canvas = Image.new("RGB", (side, side))
    BACKDROPS[name](Brush(canvas, 0, 0, side), np.random.default_rng(variant))
    return canvas


def draw(scene: Scene) -> np.ndarray:
    """Draw a scene; the same scene gives the same picture.

    returns  (64, 64, 3) uint8, RGB
    """
    rng = np.random.default_rng(scene.seed)
    side = PICTURE_PX * OVERSIZE
    canvas = _backdrop(scene.background, int(rng.integers(4))).copy()
    for placed in scene.placed:
        size = placed.size * side
        paint = paint_of(placed.thing, rng)
        draw_thing(canvas, placed.thing.noun, paint, placed.x * side - size / 2, placed.y * side - size / 2, size)
    return np.asarray(canvas.reduce(OVERSIZE))


# --- words ----------------------------------------------------------------------------------------------------------


def article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def describe_thing(thing: Thing, *, with_colour: bool = True) -> str:
    """ "a red mug", "a red and white striped mug", "a mug": only what has a name."""
    words = thing.noun
    unnamed = thing.look is not None and thing.look.pattern is not None
    if thing.colour is not None and with_colour and not unnamed:
        if thing.second is None:
            words = f"{thing.colour} {words}"
        else:
            words = f"{thing.colour} and {thing.second} {thing.pattern} {words}"
    return f"{article(words)} {words}"


def caption(scene: Scene, rng: np.random.Generator, *, whole: bool = False, names: Sequence[str | None] = ()) -> str:
    """Put a scene into words. Unless `whole`, colours (15 %) and the place (10 %) are sometimes left out.

    names: for each thing, what it is called by instead of being described ("<a>": "a <a> mug"), or None.
    """
    things = [
        f"a {name} {placed.thing.noun}"
        if name
        else describe_thing(placed.thing, with_colour=whole or rng.random() > 0.15)
        for placed, name in zip_longest(scene.placed, names)
    ]
    words = f" {scene.relation} ".join(things)
    if whole or rng.random() > 0.1:
        words = f"{words} {scene.background}"
    opening = _pick(rng, _OPENINGS)
    return f"{opening} {words}" if opening else words
