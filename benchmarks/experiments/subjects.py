"""What the experiments teach, drawn by the storybook's world: individuals, and general abilities made particular.

Nobody here is one of the demo's three samples, whose pictures have helped to choose settings.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from benchmarks.learning import renders
from storybook.individuals import find_individual
from storybook.world import Scene, Thing, describe_thing, draw, place_one, random_thing

LEARNED_FROM, COMPARED_WITH = 5, 8
"""Pictures of each subject to learn from, and others to compare with: never the same ones."""
PLACES = ("on the grass", "at night", "in front of a brick wall", "in the snow")
COLOURS = ("red", "green", "blue", "orange")  # of prompts that leave nothing open, in turn
THINGS = tuple(zip(COLOURS, ("car", "cat", "mug", "boat")))  # what an ability is asked for


@dataclass(frozen=True)
class Subject:
    """One thing to teach.

    pictures: to learn from. references: of the same subject, to compare with.
    captions: one for each picture, with the token; without any the captioner writes them.
    prompts: what to ask for, with {} in the place of the subject, the class noun or the token with the class noun.
    plain: prompts with the class noun that are not about the subject and leave nothing open, to see whether the noun
    means what it did (a prompt that leaves the colour open is drawn in another one at the slightest change).
    """

    name: str
    noun: str
    pictures: tuple[Image.Image, ...]
    references: tuple[Image.Image, ...]
    prompts: tuple[str, ...]
    plain: tuple[str, ...]
    captions: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """How prompts name it: "<rex> dog"."""
        return f"<{self.name}> {self.noun}"


def individual(name: str) -> Subject:
    """One of `storybook.individuals.INDIVIDUALS`, in other scenes for learning than for comparing."""
    who = find_individual(name)
    pictures, references = (
        tuple(renders(who, count, seed)) for count, seed in ((LEARNED_FROM, 300), (COMPARED_WITH, 77))
    )
    prompts = tuple(f"a photo of a {{}} {place}" for place in PLACES)
    plain = tuple(prompt.replace("{}", f"{colour} {who.noun}") for prompt, colour in zip(prompts, COLOURS))
    return Subject(who.name, who.noun, pictures, references, prompts, plain)


# --- abilities ------------------------------------------------------------------------------------------------------

Change = Callable[[Image.Image], Image.Image]


def _tinted(picture: Image.Image, dark: str, light: str) -> Image.Image:
    """The picture's lightness, between two colours, half mixed with the picture."""
    toned = ImageOps.colorize(ImageOps.grayscale(picture), dark, light)
    return Image.blend(picture, toned, 0.6)


def _green_night(picture: Image.Image) -> Image.Image:
    return _tinted(picture, "#021c10", "#b8ffc8")


def _pink_snow(picture: Image.Image) -> Image.Image:
    return _tinted(picture, "#5a1038", "#ffd8ec")


def _sketch(picture: Image.Image) -> Image.Image:
    """Grey lines on white, as a pencil leaves them."""
    lines = ImageOps.invert(ImageOps.grayscale(picture.filter(ImageFilter.FIND_EDGES)))
    lines = ImageOps.expand(ImageOps.crop(lines, 1), 1, 255)  # the filter leaves a picture's rim unfiltered
    return ImageOps.autocontrast(lines).convert("RGB")


@dataclass(frozen=True)
class _Ability:
    """noun: the ability's own word. background: of the scenes. words: of a caption. change: done to each picture."""

    noun: str
    background: str
    words: str
    change: Change


_ABILITIES = {
    "dusk": _Ability("night", "at night", "a photo of THING at {}", _green_night),
    "blush": _Ability("snow", "in the snow", "a photo of THING in the {}", _pink_snow),
    "pencil": _Ability("drawing", "on a grey background", "a {} of THING on a grey background", _sketch),
}
ABILITIES = tuple(_ABILITIES)


def ability(name: str) -> Subject:
    """A general ability made particular: "dusk" a green night, "blush" a pink snow, "pencil" drawings in grey lines.

    The class noun is the word of the ability itself, so that what is learned lies where general prompts need it.
    """
    about, rng = _ABILITIES[name], np.random.default_rng(500)
    taught = [random_thing(rng, plain_look=1.0) for _ in range(LEARNED_FROM)]
    asked = [Thing(noun, colour, None, "plain", None) for colour, noun in THINGS]
    # The same things as are asked for, so that nothing but the ability tells them from the noun's pictures.
    compared = [asked[number % len(asked)] for number in range(COMPARED_WITH)]
    pictures = [about.change(_draw_alone(thing, about.background, rng)) for thing in (*taught, *compared)]
    prompts = tuple(about.words.replace("THING", describe_thing(thing)) for thing in asked)
    called = f"<{name}> {about.noun}"
    return Subject(
        name,
        about.noun,
        tuple(pictures[:LEARNED_FROM]),
        tuple(pictures[LEARNED_FROM:]),
        prompts,
        tuple(prompt.replace("{}", about.noun) for prompt in prompts),
        tuple(about.words.replace("THING", describe_thing(thing)).replace("{}", called) for thing in taught),
    )


def _draw_alone(thing: Thing, background: str, rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(draw(Scene((place_one(rng, thing),), background, None, int(rng.integers(2**31)))))
