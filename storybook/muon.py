"""Muon for the matrices of a network, AdamW for the rest, in one optimiser.

Momentum is made orthogonal before it is applied (Jordan et al., 2024: "Muon: an optimizer for hidden layers"), scaled
so that an update is as large as AdamW's would be (Liu et al., 2025, "Muon is scalable for LLM training", equation 4).
A convolution counts as the matrix (out, in x height x width).
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.99)
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic iteration of Jordan et al.: singular values to about 1 in 5 rounds


def orthogonalize(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Make each of `matrices` (count, rows, columns) roughly orthogonal: U V^T of its singular value decomposition,
    in bfloat16.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def muon_for(module: nn.Module, rate: float, outer: tuple[str, ...]) -> "Muon":
    """Muon for the hidden matrices and convolutions of `module`; AdamW for biases, norms, and what `outer` names.

    outer: beginnings of the names of first and last layers and of tables that are looked up, not multiplied.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        hidden = parameter.ndim >= 2 and not name.startswith(outer)
        (matrices if hidden else others).append(parameter)
    return Muon(matrices, others, rate)


class Muon(torch.optim.Optimizer):
    """One optimiser over two kinds of parameters: `matrices` by Muon, `others` by AdamW.

    Args:
        matrices: parameters of two or more dimensions, all hidden (neither the first nor the last layer).
        others: everything else.
        lr: learning rate of both kinds. decay: weight decay of the matrices.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], lr: float, decay: float = 0.01
    ):
        groups = [{"params": list(matrices), "orthogonal": True}, {"params": list(others), "orthogonal": False}]
        super().__init__(groups, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            (self._orthogonal_step if group["orthogonal"] else self._adam_step)(group)

    def _orthogonal_step(self, group: dict[str, Any]) -> None:
        shapes: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for parameter, gradient in _with_gradients(group):
            shapes[len(parameter), parameter[0].numel()].append((parameter, gradient))
        for (rows, columns), members in shapes.items():  # equal shapes in one product: many small ones are slow
            updates = []
            for parameter, gradient in members:
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(gradient, 1 - MOMENTUM)
                updates.append(gradient.lerp(momentum, MOMENTUM).reshape(rows, columns))  # Nesterov's
            made = orthogonalize(torch.stack(updates)).float() * (0.2 * max(rows, columns) ** 0.5)
            for (parameter, _), update in zip(members, made, strict=True):
                parameter.mul_(1 - group["lr"] * group["decay"])
                parameter.add_(update.view(parameter.shape), alpha=-group["lr"])

    def _adam_step(self, group: dict[str, Any]) -> None:
        first, second = ADAM_BETAS
        for parameter, gradient in _with_gradients(group):
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] += 1
            step = state["step"].item()
            state["exp_avg"].lerp_(gradient, 1 - first)
            state["exp_avg_sq"].lerp_(gradient.square(), 1 - second)
            spread = (state["exp_avg_sq"] / (1 - second**step)).sqrt_().add_(1e-8)
            parameter.addcdiv_(state["exp_avg"], spread, value=-group["lr"] / (1 - first**step))


def _with_gradients(group: dict[str, Any]) -> list[tuple[nn.Parameter, Tensor]]:
    return [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
