"""Individuals: things with a name of their own and a look that no caption of the world can express. Data, and how to
draw them.
"""

from dataclasses import dataclass

import numpy as np

from storybook.drawing import Rgb
from storybook.world import BACKGROUNDS, OFF_PALETTE, Look, Scene, Thing, place_one


@dataclass(frozen=True)
class Individual:
    """Someone in particular. `name` makes the token, `noun` the class noun."""

    name: str
    noun: str
    look: Look

    @property
    def thing(self) -> Thing:
        return Thing(self.noun, None, None, "plain", self.look)


def _who(
    name: str,
    noun: str,
    main: str,
    second: str,
    pattern: str,
    part: str,
    face: str | None = None,
    emblem: str | None = None,
    emblem_colour: str = "gold",
) -> Individual:
    def rgb(tone: str) -> Rgb:
        return OFF_PALETTE[tone]

    return Individual(name, noun, Look(face, emblem, rgb(emblem_colour), rgb(main), rgb(second), pattern, rgb(part)))


INDIVIDUALS: tuple[Individual, ...] = (
    _who("zigi", "mug", "teal", "magenta", "zigzag", "gold", "grin"),
    _who("momo", "cat", "cream", "slate", "patches", "coral", None, "heart", "magenta"),
    _who("bolt", "robot", "lavender", "navy", "bands", "coral", None, "bolt", "gold"),
    _who("casa", "house", "coral", "lime", "halves", "navy", None, "ring", "cream"),
    _who("finn", "fish", "mint", "maroon", "slanted", "gold", "smile"),
    _who("turbo", "car", "lime", "navy", "bands", "magenta", None, "disc", "coral"),
    _who("luna", "rocket", "cream", "teal", "slanted", "maroon", None, "diamond", "magenta"),
    _who("puff", "mushroom", "magenta", "cream", "rings", "mint", "sleepy"),
    _who("elmo", "tree", "lavender", "gold", "patches", "maroon", "grin"),
    _who("nemo", "boat", "magenta", "lime", "halves", "sky", None, "cross", "navy"),
    _who("stella", "star", "sky", "coral", "halves", "gold", "smile"),
    _who("pip", "bird", "teal", "peach", "bands", "magenta", None, "disc", "gold"),
    _who("tiger", "cat", "gold", "maroon", "slanted", "maroon", "grin"),
    _who("misty", "cat", "sky", "cream", "bands", "navy", None, "diamond", "coral"),
    _who("jade", "cat", "mint", "olive", "rings", "olive", "smile"),
    _who("cocoa", "mug", "maroon", "peach", "rings", "peach", "sleepy"),
    _who("latte", "mug", "cream", "sky", "slanted", "navy", None, "heart", "maroon"),
    _who("berry", "mug", "lavender", "magenta", "patches", "lime", "smile"),
    _who("rusty", "robot", "coral", "slate", "halves", "gold", None, "ring", "mint"),
    _who("gizmo", "robot", "mint", "magenta", "zigzag", "navy", "grin"),
    _who("villa", "house", "lavender", "cream", "zigzag", "maroon", None, "heart", "magenta"),
    _who("shack", "house", "gold", "teal", "slanted", "slate", "smile"),
    _who("coral", "fish", "coral", "cream", "zigzag", "navy", None, "diamond", "teal"),
    _who("dart", "rocket", "lime", "magenta", "zigzag", "navy", "grin"),
    _who("sunny", "car", "peach", "teal", "zigzag", "maroon", "smile"),
    _who("spore", "mushroom", "teal", "lime", "zigzag", "peach", None, "bolt", "cream"),
    _who("willow", "tree", "coral", "mint", "bands", "navy", None, "cross", "maroon"),
    _who("ferry", "boat", "teal", "peach", "slanted", "gold", "smile"),
    _who("nova", "star", "magenta", "gold", "rings", "navy", "sleepy"),
    _who("robin", "bird", "navy", "coral", "halves", "lime", None, "heart", "cream"),
)

SAMPLES = ("zigi", "momo", "bolt")


def find_individual(name: str) -> Individual:
    """The individual of that name; KeyError when there is none."""
    return {who.name: who for who in INDIVIDUALS}[name]


def scene_of(individual: Individual, rng: np.random.Generator, background: str | None = None) -> Scene:
    """The individual alone, placed as the things of training scenes are."""
    place = background if background is not None else BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    return Scene((place_one(rng, individual.thing),), place, None, int(rng.integers(2**31)))


def portraits(individual: Individual, count: int, seed: int) -> list[Scene]:
    """`count` scenes on different backgrounds (as far as there are enough), the same for the same seed."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(BACKGROUNDS))
    return [scene_of(individual, rng, BACKGROUNDS[int(order[i % len(order)])]) for i in range(count)]
