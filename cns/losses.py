"""The terms of the loss, one function each, and what the denoising term compares."""

import torch
from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction")
"""What a UNet may be trained to answer with: the noise, or the velocity."""


def draw_times(batch: int, length: int, power: float, generator: torch.Generator) -> Tensor:
    """Time steps of a batch (batch,) int64 in 0..length - 1, one from each of `batch` equal shares, in any order.

    Shares make the loss of a small batch vary less than free draws do (Kingma et al., arXiv 2107.00630, appendix I).
    power: of the even draw u in 0..1; 1 leaves it even, less draws high noise more often.
    """
    even = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
    return (length * even.pow(power)).long().clamp(max=length - 1)  # an even draw may round up to 1


def noisy_latents(clean: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """z_t = sqrt(a) z + sqrt(1 - a) e: latents at a noise level each; at a = 0 (zero terminal SNR) the noise alone.

    clean, noise: (batch, channels, height, width). signal: (batch,) a, the cumulative product of alphas, 0..1.
    """
    level = signal.view(-1, 1, 1, 1)
    return level.sqrt() * clean + (1 - level).sqrt() * noise


def diffusion_target(clean: Tensor, noise: Tensor, signal: Tensor, prediction_type: str) -> Tensor:
    """What the UNet should answer: e for "epsilon", sqrt(a) e - sqrt(1 - a) z for "v_prediction" (arXiv 2202.00512).

    Shapes as in `noisy_latents`. Raises ValueError for another kind of prediction.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        level = signal.view(-1, 1, 1, 1)
        return level.sqrt() * noise - (1 - level).sqrt() * clean
    raise ValueError(f"A prediction is one of {', '.join(PREDICTIONS)}, not {prediction_type!r}.")


def diffusion_loss(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error over a batch (batch, channels, height, width), float32; `weights` (batch,) weighs its rows."""
    error = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
    return (error if weights is None else error * weights).mean()


def protection_loss(values: Tensor, before: Tensor, original: Tensor, owned: Tensor, l1: float, l2: float) -> Tensor:
    """L_reg = l1 ||M (W - W_{m-1})||^2 + l2 ||M (W - W_0)||^2 over the entries that earlier concepts own (Eq. 7).

    values, before, original: (n,) the selected values now, in the version learned on, and in the base.
    owned: (n,) bool, M_reg: selected now and owned by an earlier concept.
    """
    # Masked arithmetic, not indexing: a GPU need not be waited for to learn how many entries are owned.
    from_before = torch.where(owned, values - before, 0.0).square().sum()
    from_original = torch.where(owned, values - original, 0.0).square().sum()
    return l1 * from_before + l2 * from_original


def feature_moment(hidden: Tensor) -> Tensor:
    """Second moment of text features: sum of c c^T over the positions, mean over the prompts.

    hidden (prompts, positions, in). returns (in, in) float32: what ||dW c||^2 of all these c is a quadratic form of.
    """
    flat = hidden.float().flatten(0, 1)
    return flat.T @ flat / len(hidden)


def energy(weight: Tensor, moment: Tensor) -> Tensor:
    """tr(W G W^T): the square length of W c, summed over a prompt's positions. weight (out, in), moment G (in, in)."""
    return ((weight @ moment) * weight).sum()


def min_snr_weights(signal: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Weights of time steps by signal-to-noise ratio (Hang et al. 2023, arXiv 2303.09556).

    signal: (batch,) cumulative product of alphas, 0..1. returns (batch,), finite also where the signal is zero.
    """
    ratio = signal / (1 - signal).clamp(min=1e-8)
    if prediction_type == "v_prediction":
        return ratio.clamp(max=gamma) / (ratio + 1)
    return (gamma / ratio.clamp(min=1e-8)).clamp(max=1)
