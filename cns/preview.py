"""A look at latents without the autoencoder: each position's colour as a linear map of its channels.

The channels of a latent autoencoder are nearly linear in colour, so four numbers a channel give a small picture that
is right in colour and blurred in detail, for a thousandth of what decoding costs. Known as "latent2rgb"; the numbers
are fitted to the base's own autoencoder here, as each has its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from cns.base_model import BaseModel
from cns.errors import BaseModelError

PICTURES = 8
SIDE = 8  # positions along a side of the latents that are fitted to: 512 colours in all
SPOTS = (2, 4, 8)  # colours along a side of the pictures that they are made of, soft and sharp


@dataclass(frozen=True)
class LatentPreview:
    """matrix: (channels, 3), offset: (3,); float32 on the base's device. scale: pixels per position, along one side."""

    matrix: Tensor
    offset: Tensor
    scale: int

    @torch.no_grad()
    def __call__(self, latents: Tensor) -> Tensor:
        """Scaled latents (batch, channels, height, width) -> (batch, 3, height * scale, width * scale) in 0..1."""
        colours = torch.einsum("bchw,cr->brhw", latents.float(), self.matrix) + self.offset[:, None, None]
        return interpolate(colours.clamp(0, 1), scale_factor=self.scale, mode="nearest")


@torch.no_grad()
def fit_preview(base: BaseModel, seed: int = 0) -> LatentPreview:
    """The map that is nearest, by least squares, to what the autoencoder makes of a few pictures of soft colours.

    Each position's colour is the mean over the pixels that belong to it. The same base and seed give the same map.
    Raises BaseModelError where the autoencoder gives no numbers, as some do in half precision.
    """
    pictures = _draw_colours(base.vae_scale * SIDE, torch.Generator().manual_seed(seed))
    latents = base.encode_images(pictures * 2 - 1).float()
    colours = avg_pool2d(base.decode_latents(latents.to(base.dtype)), base.vae_scale)  # (pictures, 3, SIDE, SIDE)
    if not bool(torch.isfinite(latents).all() and torch.isfinite(colours).all()):
        raise BaseModelError(f"The base's autoencoder overflows in {str(base.dtype).removeprefix('torch.')}.")
    seen = latents.movedim(1, -1).flatten(0, 2).double().cpu()  # (positions, channels)
    wanted = colours.movedim(1, -1).flatten(0, 2).double().cpu()  # (positions, 3)
    ones = torch.ones(len(seen), 1, dtype=torch.float64)
    # By the pseudo-inverse: channels that an autoencoder does not use must not make the fit fail.
    found = torch.linalg.pinv(torch.cat([seen, ones], dim=1)) @ wanted
    found = found.float().to(base.device)
    return LatentPreview(found[:-1], found[-1], base.vae_scale)


def _draw_colours(side: int, generator: torch.Generator) -> Tensor:
    """(PICTURES, 3, side, side) in 0..1: spots of colour that run into each other, and some with edges."""
    drawn = []
    for place in range(PICTURES):
        spots = SPOTS[place % len(SPOTS)]
        field = torch.rand(1, 3, spots, spots, generator=generator)
        soft = place % 2 == 0
        drawn.append(interpolate(field, size=(side, side), mode="bilinear" if soft else "nearest"))
    return torch.cat(drawn)
