"""Whether keys and values of text depend on the prompt alone, and whether handing them in equals writing weights."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cns.base_model import BaseModel
from cns.compose import Version
from cns.kv import handed_attention, keys_and_values, predict

Denoise = Callable[[Tensor, Tensor], object]
"""One call of a denoiser with the same prompt: latents (batch, channels, height, width), time steps (batch,)."""


def text_moves(denoise: Denoise, projections: Sequence[nn.Module], shape: tuple[int, ...]) -> float:
    """How far K and V of one prompt move when picture and time step change, as a share of their size; 0: not at all.

    projections: the key and value projections of text. shape: of the latents.
    """
    generator = torch.Generator().manual_seed(0)
    seen = []
    for time in (10, 900):
        with _watched(projections) as outputs, torch.no_grad():
            denoise(torch.randn(shape, generator=generator), torch.full(shape[:1], time))
        seen.append(torch.cat([output.flatten() for output in outputs]))
    early, late = seen
    return float((early - late).norm() / early.norm())


@contextmanager
def _watched(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects what `modules` give while the block runs, in the order of their calls."""
    outputs: list[Tensor] = []
    handles = [module.register_forward_hook(lambda _, inputs, output: outputs.append(output)) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def with_weights(model: Any, version: Version) -> Any:
    """A copy of a denoiser with a version's K/V weights written in."""
    written = copy.deepcopy(model)
    for layer, weight in version.weights.items():
        written.get_submodule(layer).weight.data.copy_(weight)
    return written


@torch.no_grad()
def compare_with_written(base: BaseModel, version: Version, prompt: str) -> dict[str, float]:
    """The shared UNet with K and V handed in, against a copy with the weights written in; and that against the base's.

    Differences as in `largest_difference`: the first should be nothing, the second not.
    """
    features = base.text_features([prompt], version.tokens)
    side = base.unet.config.sample_size
    latents = torch.randn(1, base.unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    times, added = torch.tensor([400]), base.added_conditions(features.pooled, base.native_px, base.native_px)
    with handed_attention(base.unet):
        handed = predict(base, latents, times, keys_and_values(version.weights, features.hidden), added)
    written, untouched = (
        unet(latents, times, encoder_hidden_states=features.hidden, added_cond_kwargs=added, return_dict=False)[0]
        for unet in (with_weights(base.unet, version), base.unet)
    )
    return {
        "handed_against_written": largest_difference(handed, written),
        "written_against_untouched": largest_difference(written, untouched),
    }


def largest_difference(left: Tensor, right: Tensor) -> float:
    """The largest difference of two tensors of one shape as a share of the largest number in the second."""
    return float((left - right).abs().max() / right.abs().max())
