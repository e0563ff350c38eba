"""Groups of scenes that differ in one thing only.

A batch of random scenes is told apart by colour and background alone, and a contrastive model trained on it never
needs the noun. In a group everything is shared but one attribute, so that attribute has to be seen.
"""

from dataclasses import replace

import numpy as np

from storybook.world import (
    BACKGROUNDS,
    COLOURS,
    NOUNS,
    PATTERNS,
    Placed,
    Scene,
    Thing,
    place_one,
    place_two,
    random_scene,
    random_thing,
)

GROUP = 8
_AXES = ("noun", "noun", "noun", "colour", "pattern", "background")


def _choices(rng: np.random.Generator, options: tuple[str, ...]) -> list[str]:
    """GROUP options, each at most once where there are enough."""
    order = [options[i] for i in rng.permutation(len(options))]
    return (order * (GROUP // len(order) + 1))[:GROUP]


def _vary(rng: np.random.Generator, thing: Thing, axis: str) -> list[Thing]:
    palette = tuple(COLOURS)
    if axis == "noun":
        return [replace(thing, noun=noun) for noun in _choices(rng, NOUNS)]
    if axis == "colour":
        colours = [c for c in palette if c != thing.second]
        return [replace(thing, colour=colour) for colour in _choices(rng, tuple(colours))]
    variants = []
    seconds = [c for c in palette if c != thing.colour]
    for pattern in _choices(rng, PATTERNS):
        second = None if pattern == PATTERNS[0] else seconds[int(rng.integers(len(seconds)))]
        variants.append(replace(thing, pattern=pattern, second=second))
    return variants


def contrast_group(rng: np.random.Generator) -> list[Scene]:
    """GROUP scenes that share all but one attribute of one thing (or the background), each freshly placed."""
    scene = random_scene(rng)
    axis = _AXES[int(rng.integers(len(_AXES)))]
    things = [placed.thing for placed in scene.placed]
    slot = int(rng.integers(len(things)))
    if things[slot].look is not None and axis in ("colour", "pattern"):
        things[slot] = random_thing(rng, plain_look=1.0)
    backgrounds = [scene.background] * GROUP
    if axis == "background":
        backgrounds = _choices(rng, tuple(BACKGROUNDS))
        variants = [things[slot]] * GROUP
    else:
        variants = _vary(rng, things[slot], axis)
    scenes = []
    for variant, background in zip(variants, backgrounds, strict=True):
        shown = [*things]
        shown[slot] = variant
        placed: tuple[Placed, ...]
        if len(shown) == 1:
            placed = (place_one(rng, shown[0]),)
        else:
            placed = place_two(rng, shown[0], shown[1])
        scenes.append(replace(scene, placed=placed, background=background, seed=int(rng.integers(2**31))))
    return scenes
