"""The rows of one optimiser step: drawn from the seed, put before the shared UNet, alone or beside other learnings'."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random

import torch
from diffusers import UNet2DConditionModel
from PIL.Image import Image
from torch import Tensor

from cns.base_model import BaseModel
from cns.borrowing import borrowed
from cns.frozen_layers import thrifty_gradients
from cns.kv import LayerKV, handed_attention, join_rows, predict
from cns.losses import diffusion_target, draw_times, min_snr_weights, noisy_latents
from cns.pictures import cut_pieces, cut_square, to_latent_pixels
from cns.pieces import encode_squares
from cns.settings import LearningSettings


@dataclass(frozen=True)
class EncodedPictures:
    """Pictures with captions as the UNet learns them, each encoded once.

    latents: (pictures, channels, height, width) float32, clean. captions: each distinct one once. caption_of:
    (pictures,) int64 on the CPU, the caption of each. side_px: of the pictures that were encoded. sha256: of these, as
    bytes: the last bits of latents differ with the processor and the number of threads.
    """

    latents: Tensor
    captions: tuple[str, ...]
    caption_of: Tensor
    side_px: int
    sha256: str


@dataclass(frozen=True)
class DrawnRows:
    """What one step of one learning is about, drawn from its seed and the step's number alone.

    noisy: (batch, channels, height, width) float32. times: (batch,) int64. captions: (batch,) int64 ascending, on the
    CPU: which caption each row has. target: as `noisy`, what the UNet should answer. weights: (batch,) or None.
    """

    noisy: Tensor
    times: Tensor
    captions: Tensor
    target: Tensor
    weights: Tensor | None


@dataclass(frozen=True)
class AskedRows:
    """What the UNet is asked for one learning: its rows, with K and V that are differentiable in what it learns.

    added: SDXL's conditions, see `BaseModel.added_conditions`.
    """

    noisy: Tensor
    times: Tensor
    kv: LayerKV
    added: Mapping[str, Tensor] | None


def encode_pictures(
    base: BaseModel,
    pictures: Sequence[Image],
    captions: Sequence[str],
    *,
    resolution_px: int | None,
    flip: bool,
    crops: int = 0,
    seed: int = 0,
) -> EncodedPictures:
    """Latents of every picture, of so many pieces of each, and of the mirror images of all these when asked for.

    captions: one for each picture, and for its pieces too. resolution_px: side of the pictures; None for the base's
    own. crops: as in `LearningSettings`; drawn from `seed`.
    """
    side, rng = resolution_px or base.native_px, Random(seed)
    squares = [cut_square(picture, side) for picture in pictures]
    squares += [piece for picture in pictures for piece in cut_pieces(picture, side, crops, rng)]
    captions = [*captions, *(caption for caption in captions for _ in range(crops))]
    pixels = torch.cat([to_latent_pixels(square, side) for square in squares])
    distinct = tuple(dict.fromkeys(captions))
    caption_of = [distinct.index(caption) for caption in captions]
    if flip:
        pixels, caption_of = torch.cat([pixels, pixels.flip(-1)]), caption_of * 2
    latents = torch.cat([encode_squares(base, part) for part in pixels.split(8)]).float()
    sha256 = hashlib.sha256(b"".join(square.tobytes() for square in squares)).hexdigest()
    return EncodedPictures(latents, distinct, torch.tensor(caption_of), side, sha256)


def draw_rows(
    pictures: EncodedPictures, signal: Tensor, prediction_type: str, settings: LearningSettings, step: int
) -> DrawnRows:
    """Pictures, time steps and noise of step number `step`.

    signal: (steps of training,) cumulative product of alphas, on the latents' device.
    """
    latents, caption_of = pictures.latents, pictures.caption_of
    device = latents.device
    # Drawn anew from the seed and the step's number, so that a resumed run needs no generator's state.
    generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + step) % 2**63)
    rows = torch.randint(len(latents), (settings.batch,), generator=generator)
    rows = rows[caption_of[rows].argsort(stable=True)]  # the rows of one caption side by side
    times = draw_times(settings.batch, len(signal), settings.time_power, generator).to(device)
    noise = torch.randn((settings.batch, *latents.shape[1:]), generator=generator).to(device)
    clean, level = latents[rows.to(device)], signal[times]
    weights = None
    if settings.min_snr_gamma is not None:
        weights = min_snr_weights(level, settings.min_snr_gamma, prediction_type)
    target = diffusion_target(clean, noise, level, prediction_type)
    return DrawnRows(noisy_latents(clean, noise, level), times, caption_of[rows], target, weights)


def ask_unet(base: BaseModel, asked: Sequence[AskedRows], *, mixed_precision: bool) -> list[Tensor]:
    """The UNet's answers to the rows of several learnings, in one call: (batch, channels, height, width) for each.

    Latents must have one size. No row sees another, so gradients of one learning's loss reach that learning alone.
    Call it, and what goes backwards from it, inside `borrowed_unet`.
    """
    noisy, times, kv, added = asked[0].noisy, asked[0].times, asked[0].kv, asked[0].added
    if len(asked) > 1:
        noisy, times = torch.cat([one.noisy for one in asked]), torch.cat([one.times for one in asked])
        kv = join_rows([one.kv for one in asked])
        conditions = [one.added for one in asked if one.added is not None]
        added = {name: torch.cat([one[name] for one in conditions]) for name in conditions[0]} if conditions else None
    computed = computing_dtype(base, mixed_precision=mixed_precision)
    with torch.autocast(base.device.type, computed, enabled=computed is not base.dtype):
        made = predict(base, noisy.to(base.dtype), times, kv, added)
    return [made] if len(asked) == 1 else list(made.split([len(one.noisy) for one in asked]))


def computing_dtype(base: BaseModel, *, mixed_precision: bool) -> torch.dtype:
    """What the UNet multiplies matrices in: bfloat16 where that is asked for; a base in half precision has its own."""
    return torch.bfloat16 if mixed_precision and base.dtype is torch.float32 else base.dtype


@contextmanager
def borrowed_unet(base: BaseModel, *, checkpointing: bool) -> Iterator[None]:
    """The shared UNet with K and V handed in, and with gradient checkpointing when asked for; then as it was.

    Blocks of several threads may overlap. Beside one that asks for checkpointing the others have it too, which costs
    them time and changes no bit.
    """
    with handed_attention(base.unet), thrifty_gradients(base.unet), ExitStack() as more:
        if checkpointing:
            more.enter_context(borrowed(base.unet, "gradient checkpointing", partial(_checkpointing, base.unet)))
        yield


@contextmanager
def _checkpointing(unet: UNet2DConditionModel) -> Iterator[None]:
    unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        unet.disable_gradient_checkpointing()


def repeat_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Row i of `rows` (n, ...) `counts[i]` times, one after the other: (sum of counts, ...).

    Not by indexing: where an index repeats, several threads add up its gradient in whatever order they come, and the
    last bits would differ between two equal runs.
    """
    return torch.cat([row.expand(count, *row.shape[1:]) for row, count in zip(rows.split(1), counts, strict=True)])
