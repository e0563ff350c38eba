"""Adam for a concept's token: one step length for the whole vector."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class WholeVectorAdam(torch.optim.Optimizer):
    """Adam whose second moment is one number for each vector: the mean over its coordinates.

    Adam (Kingma and Ba, arXiv 1412.6980) gives every coordinate a step length of its own, so that all of them move
    about as far, whether the gradient says much there or next to nothing. A token that is moved like that leaves its
    class noun mostly in directions that mean nothing for the pictures it was learned from, and something in every
    other sentence. With one step length, as Adam-mini has for each block of a network (Zhang et al., arXiv
    2406.16793), it goes where the gradient points. Measured: docs/decisions/0016. There is no weight decay.

    parameters: any shapes; each tensor is a vector by itself. lr: the root mean square of a vector's first step.
    betas, eps: as of Adam, with bias correction.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every vector that has a gradient. closure: not used."""
        for group in self.param_groups:
            first, second = group["betas"]
            for vector in group["params"]:
                if vector.grad is None:
                    continue
                state = self.state[vector]
                if not state:
                    state["step"] = torch.zeros(())
                    state["mean"] = torch.zeros_like(vector)
                    state["mean_square"] = vector.new_zeros(())
                state["step"] += 1
                state["mean"].lerp_(vector.grad, 1 - first)
                state["mean_square"].lerp_(vector.grad.square().mean(), 1 - second)
                steps = state["step"].item()
                length = (state["mean_square"] / (1 - second**steps)).sqrt() + group["eps"]
                vector.sub_(state["mean"] / length, alpha=group["lr"] / (1 - first**steps))
