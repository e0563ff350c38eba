"""The terms of the loss, one function each."""

import torch
from torch import Tensor


def diffusion_loss(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error over a batch (batch, channels, height, width), float32; `weights` (batch,) weighs its rows."""
    error = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
    return (error if weights is None else error * weights).mean()


def protection_loss(values: Tensor, before: Tensor, original: Tensor, owned: Tensor, l1: float, l2: float) -> Tensor:
    """L_reg = l1 ||M (W - W_{m-1})||^2 + l2 ||M (W - W_0)||^2 over the entries that earlier concepts own (Eq. 7).

    values, before, original: (n,) the selected values now, in the version learned on, and in the base.
    owned: (n,) bool, M_reg: selected now and owned by an earlier concept.
    """
    if not bool(owned.any()):
        return values.new_zeros(())
    kept = values[owned]
    return l1 * (kept - before[owned]).square().sum() + l2 * (kept - original[owned]).square().sum()


def min_snr_weights(signal: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Weights of time steps by signal-to-noise ratio (Hang et al. 2023, arXiv 2303.09556).

    signal: (batch,) cumulative product of alphas, 0..1. returns (batch,), finite also where the signal is zero.
    """
    ratio = signal / (1 - signal).clamp(min=1e-8)
    clipped = torch.minimum(ratio, torch.full_like(ratio, gamma))
    if prediction_type == "v_prediction":
        return clipped / (ratio + 1)
    return clipped / ratio.clamp(min=1e-8)
