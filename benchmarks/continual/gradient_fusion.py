"""Gradient fusion: one matrix that does on each concept's inputs what that concept's own matrix does.

Mix-of-Show (Gu et al., arXiv 2305.18292) looks for

    argmin over W of  sum over concepts i of  || (W_0 + dW_i) X_i - W X_i ||_F^2

by L-BFGS, starting at W_0. The objective is quadratic and every step from W_0 lies in the span of the inputs, so what
L-BFGS runs towards is the solution nearest to W_0. That one has a closed form, which needs the inputs X_i only through
their second moments G_i = X_i X_i^T, however many there are.
"""

import torch
from torch import Tensor


def second_moment(inputs: Tensor) -> Tensor:
    """G = X X^T (in, in) float64 of inputs (..., in)."""
    flat = inputs.detach().flatten(0, -2).double()
    return flat.T @ flat


class Fusion:
    """The fusing of one projection's changes, concept after concept; it holds two matrices, however many they are."""

    def __init__(self, width_out: int, width_in: int, device: torch.device):
        self._moment = torch.zeros(width_in, width_in, dtype=torch.float64, device=device)
        self._wanted = torch.zeros(width_out, width_in, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, change: Tensor, moment: Tensor) -> None:
        """One concept: its change dW_i (out, in), and the moment G_i (in, in) of the inputs on which it matters."""
        self._moment += moment
        self._wanted += change.double() @ moment.double()

    @torch.no_grad()
    def solve(self, ridge: float) -> Tensor:
        """The fused change dW (out, in) float32:  (sum of dW_i G_i) (sum of G_i + e I)^-1.

        ridge: e as a share of the mean of the diagonal of sum G_i, above 0, as a few inputs' moment has no inverse. It
        leaves directions that hardly any input has as they are in W_0, which is also what stopping L-BFGS early does.
        Raises ValueError for a ridge of 0 or less, or when nothing was added.
        """
        mean = self._moment.diagonal().mean()
        if ridge <= 0 or mean <= 0:
            raise ValueError("Gradient fusion needs a ridge above 0 and the inputs of at least one concept.")
        firm = self._moment.clone()
        firm.diagonal().add_(ridge * mean)
        return torch.linalg.solve(firm, self._wanted.T).T.float()

    @property
    def held_bytes(self) -> int:
        return self._moment.nbytes + self._wanted.nbytes
