"""What every way learns from: the same pictures, and captions with a token or, for the peers, with a rare word."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cns.base_model import BaseModel
from cns.learning import Concept
from cns.pictures import to_latent_pixels

NAME, NOUN, RARE = "mine", "dog", "sks"
PLACES = ("on the grass", "at night", "in the snow", "on a beach")


@dataclass(frozen=True)
class Lesson:
    """pictures: squares of noise; what they show changes no time. side_px: their side."""

    pictures: tuple[Image.Image, ...]
    side_px: int

    @property
    def concept(self) -> Concept:
        """As ours is taught."""
        captions = tuple(f"a photo of a <{NAME}> {NOUN} {PLACES[n % len(PLACES)]}" for n in range(len(self.pictures)))
        return Concept(NAME, NOUN, self.pictures, captions)

    @property
    def prompts(self) -> tuple[str, ...]:
        """As the peers are."""
        return tuple(caption.replace(f"<{NAME}>", RARE) for caption in self.concept.captions)

    def pixels(self) -> Tensor:
        """(n, 3, side, side) float32 in -1..1: cropped, resized and in memory before the first step."""
        return torch.cat([to_latent_pixels(picture, self.side_px) for picture in self.pictures])


def make_lesson(base: BaseModel, count: int = 5, seed: int = 0) -> Lesson:
    """Pictures of the base's own size."""
    rng, side = np.random.default_rng(seed), base.native_px
    noise = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return Lesson(tuple(Image.fromarray(picture) for picture in noise), side)
