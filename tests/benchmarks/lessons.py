"""Lessons and budgets small enough for tiny models."""

import numpy as np
from PIL import Image

from benchmarks.continual.method import Budget, Lesson
from tests.tiny import PICTURE_PX


def lesson(name: str = "rex", noun: str = "dog", seed: int = 0, pictures: int = 2) -> Lesson:
    rng = np.random.default_rng(seed)
    drawn = [Image.fromarray(rng.integers(0, 256, (PICTURE_PX, PICTURE_PX, 3), np.uint8)) for _ in range(pictures)]
    places = ("on grass", "at night", "on the house")
    captions = tuple(f"a photo of a <{name}> {noun} {places[place % len(places)]}" for place in range(pictures))
    return Lesson(name, noun, tuple(drawn), captions)


def budget(steps: int = 3, batch: int = 4, seed: int = 0) -> Budget:
    return Budget(steps=steps, batch=batch, time_power=1.0, seed=seed, mixed_precision=False)
