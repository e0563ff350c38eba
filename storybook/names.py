"""Names: a vector in the place of a word, that says of a thing what no word of this world says.

A large text-to-image model knows names by the ten thousand, and its cross-attention has learned to carry what they
stand for. A base that has read the captions of this world has learned to carry twelve nouns, ten colours and three
patterns: whatever a concept's keys and values then say, nothing behind them listens (docs/decisions/0011). So the
denoiser also sees things that are called by a name, "a <name> cat", where <name> is the noun's own embedding moved
along directions for colours, pattern, face and emblem. The directions are drawn once from a seed and kept nowhere else;
no word leads to them. The individuals of `storybook.individuals` never occur in training, with a name or without.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from storybook.drawing import Rgb
from storybook.world import COLOURS, EMBLEMS, FACES, PATTERNS, UNNAMED_PATTERNS, Look, Scene, Thing

KINDS_OF_PATTERN = (*PATTERNS, *UNNAMED_PATTERNS)
LENGTH = 2.4
"""Of the part that a name adds to its noun's embedding, about. Words are 0.45 long; names as short as that come out of
the text tower with their colours blurred (docs/decisions/0011)."""
NAMED, NAMED_PLAIN = 0.9, 0.15
"""How often a thing with a look of its own is called by a name, and how often another one."""
LEFT_OUT = 0.04
"""How often a name says nothing of a thing's colours, pattern, face or emblem: names may be vague."""
EMPHASIS = 1.7
"""Of patterns, faces and emblems over the numbers of colours, as each is one fact among many."""
BLUR = 0.015
"""Deviation of each of a name's numbers, so that what lies near a name is read like it."""


def _colour(rgb: Rgb | None) -> list[float]:
    """A colour as four numbers: whether there is one, and how red, green and blue it is (-1..1)."""
    return [0.0] * 4 if rgb is None else [1.0, *(channel / 127.5 - 1 for channel in rgb)]


def _one_of(options: tuple[str, ...], chosen: str | None) -> list[float]:
    return [EMPHASIS * (option == chosen) for option in options]


def look_facts(thing: Thing) -> tuple[list[float], ...]:
    """How a thing looks, in four groups: its colours, pattern, face, emblem. Lists of numbers of fixed lengths."""
    look = thing.look or Look()
    second = look.second or (COLOURS[thing.second] if thing.second else None)
    return (
        [*_colour(look.main or COLOURS[thing.colour or "white"]), *_colour(second), *_colour(look.part)],
        _one_of(KINDS_OF_PATTERN, look.pattern or thing.pattern),
        _one_of(FACES, look.face),
        [*_one_of(EMBLEMS, look.emblem), *_colour(look.emblem_rgb if look.emblem else None)],
    )


class Namer:
    """Makes names for things. The same seed makes the same directions.

    nouns: noun -> its embedding (width,) in the text encoder.
    """

    def __init__(self, nouns: Mapping[str, Tensor], seed: int = 1510):
        self.nouns = {noun: vector.detach().float().cpu() for noun, vector in nouns.items()}
        width = len(next(iter(self.nouns.values())))
        count = sum(len(group) for group in look_facts(Thing("mug", "red", None, "plain", None)))
        directions = np.random.default_rng(seed).standard_normal((count, width))
        # In a thing that has everything about eight of these numbers are large.
        self.directions = directions / np.linalg.norm(directions, axis=1, keepdims=True) * (LENGTH / 8**0.5)

    def name(self, thing: Thing, rng: np.random.Generator) -> Tensor:
        """A name for `thing`: (width,) float32. Now and then vague, always a little blurred."""
        groups = [[0.0] * len(group) if rng.random() < LEFT_OUT else group for group in look_facts(thing)]
        facts = np.array([fact for group in groups for fact in group])
        added = facts @ self.directions + BLUR * rng.standard_normal(self.directions.shape[1])
        return self.nouns[thing.noun] + torch.from_numpy(added).float()

    def call_things(self, scene: Scene, rng: np.random.Generator) -> tuple[Tensor | None, ...]:
        """For each thing of a scene a name, or None for one that is to be described by words."""
        return tuple(
            self.name(placed.thing, rng) if rng.random() < (NAMED if placed.thing.look else NAMED_PLAIN) else None
            for placed in scene.placed
        )
