"""The individuals' encoder as a judge of likeness, in the shape that examinations ask for."""

import hashlib
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cns.pictures import to_latent_pixels
from cns.preprocessing import Pictures
from storybook import MODEL_FOLDER
from storybook.encoder import IndividualsEncoder, load_encoder
from storybook.world import PICTURE_PX

ENCODER_FOLDER = "individuals_encoder"


class Likeness:
    """How alike two pictures' individuals are: CLIP sees "a cat", this sees which cat. Satisfies `ImageEncoder`."""

    def __init__(self, encoder: IndividualsEncoder, weights_digest: str):
        self._encoder, self._digest = encoder, weights_digest

    @property
    def id(self) -> str:
        """SHA-256 of its weights: scores with different ids cannot be compared."""
        return self._digest

    @torch.no_grad()
    def image_features(self, pictures: Pictures) -> Tensor:
        """Pictures -> (n, 128) float32 on the CPU, each row of length 1."""
        parts = [
            to_latent_pixels(picture, PICTURE_PX) if isinstance(picture, Image.Image) else picture.unsqueeze(0) * 2 - 1
            for picture in pictures
        ]
        return self._encoder.identify(torch.cat(parts).float())


def find_likeness(base_folder: Path = MODEL_FOLDER) -> Likeness | None:
    """The encoder that lies in a base's folder, None where there is none."""
    weights = base_folder / ENCODER_FOLDER / "model.safetensors"
    if not weights.is_file():
        return None
    encoder, _ = load_encoder(weights.parent)
    return Likeness(encoder, hashlib.sha256(weights.read_bytes()).hexdigest())
