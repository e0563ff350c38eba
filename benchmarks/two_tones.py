"""Drawings in two tones: a style that the storybook's captions have no words for."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from storybook.world import BACKGROUNDS, OFF_PALETTE, Scene, draw, place_one, random_thing


@dataclass(frozen=True)
class TwoTones:
    """A style: whole pictures in two tones off the palette, dark things in `dark`, bright ones in `light`."""

    name: str
    dark: str
    light: str
    noun: str = "drawing"

    def paint(self, scene: Scene) -> Image.Image:
        """The scene in this style."""
        brightness = draw(scene).astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255  # (64, 64)
        ends = np.array(OFF_PALETTE[self.dark]), np.array(OFF_PALETTE[self.light])
        toned = ends[0] + brightness[..., None] * (ends[1] - ends[0])
        return Image.fromarray(toned.round().astype(np.uint8))

    def pictures(self, count: int, seed: int) -> list[Image.Image]:
        """`count` pictures of plain things in this style, others for another seed."""
        return [self.paint(scene) for scene in plain_scenes(count, seed)]


def plain_scenes(count: int, seed: int) -> list[Scene]:
    """`count` scenes of one thing each that captions can express, on one background after another."""
    rng = np.random.default_rng(seed)
    return [
        Scene(
            (place_one(rng, random_thing(rng, plain_look=1.0)),),
            BACKGROUNDS[turn % len(BACKGROUNDS)],
            None,
            int(rng.integers(2**31)),
        )
        for turn in range(count)
    ]
