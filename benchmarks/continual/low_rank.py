"""Low-rank changes of a UNet's attention projections: started, laid over the shared UNet, and merged into weights.

A change is dW = scale * up @ down (Hu et al., LoRA, arXiv 2106.09685). While it is learned it is laid over the UNet by
hooks; once learned it is a matrix, which may be added to others of its layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

CROSS_KV = ("attn2.to_k", "attn2.to_v")
"""Keys and values of the text."""
ATTENTION = tuple(f"attn{number}.{part}" for number in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0"))
"""Every projection of self- and cross-attention."""

Changes = Mapping[str, Tensor]
"""Name of a projection in the UNet ("down_blocks.0. ... .attn1.to_q") -> dW (out, in), float32."""


@dataclass(frozen=True)
class StoredChange:
    """A learned change as it is kept and passed on.

    up: (out, rank) float16. down: (rank, in), float16 where it was learned, float32 where it can be drawn again.
    """

    up: Tensor
    down: Tensor
    scale: float
    kept_bytes: int

    def dense(self) -> Tensor:
        """dW (out, in) float32."""
        return self.scale * (self.up.float() @ self.down.float())


class LowRank(nn.Module):
    """The change of one projection: x (..., in) -> scale * up (down x), (..., out). It starts at nothing.

    up: (out, rank), zero at the start. down: (rank, in); trained too, unless `fixed`.
    """

    down: Tensor

    def __init__(self, down: Tensor, width_out: int, scale: float = 1.0, *, fixed: bool = False):
        super().__init__()
        self.scale = scale
        self.up = nn.Parameter(down.new_zeros(width_out, len(down)))
        if fixed:
            self.register_buffer("down", down)
        else:
            self.down = nn.Parameter(down)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * linear(linear(x.to(self.down.dtype), self.down), self.up)

    def change(self) -> Tensor:
        """dW (out, in), differentiable."""
        return self.scale * (self.up @ self.down)

    @torch.no_grad()
    def store(self) -> StoredChange:
        """Both matrices in float16; of fixed directions only which rows of a known basis they are, in 16 bits each."""
        learned = isinstance(self.down, nn.Parameter)
        down = self.down.detach().half() if learned else self.down
        numbers = self.up.numel() + (down.numel() if learned else len(down))
        return StoredChange(self.up.detach().half(), down, self.scale, 2 * numbers)


def find_projections(unet: nn.Module, endings: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear layers of `unet` whose names end so, in its order. Raises ValueError when there is none."""
    found = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(tuple(f".{ending}" for ending in endings))
    }
    if not found:
        raise ValueError(f"This UNet has no projection named {' or '.join(endings)}.")
    return found


def start_down(width: int, rank: int, generator: torch.Generator) -> Tensor:
    """(rank, in) float32: what a linear layer starts with, uniform in +- 1 / sqrt(in), as peft starts LoRA's A."""
    return (torch.rand(rank, width, generator=generator) * 2 - 1) / width**0.5


def start_adapters(
    projections: Mapping[str, nn.Linear], rank: int, scale: float, generator: torch.Generator
) -> dict[str, LowRank]:
    """One change for each projection, on its device; none of them does anything yet."""
    return {
        name: LowRank(
            start_down(projection.in_features, rank, generator).to(projection.weight.device),
            projection.out_features,
            scale,
        )
        for name, projection in projections.items()
    }


@contextmanager
def adapted(unet: nn.Module, adapters: Mapping[str, LowRank]) -> Iterator[None]:
    """While the block runs, each projection named gives what its change adds, too; no weight is written.

    Where K and V are handed in (cns/kv.py), the projections of the text are not asked: see `changed_weights`.
    """

    def adding(adapter: LowRank) -> Any:
        return lambda module, inputs, output: output + adapter(inputs[0]).to(output.dtype)

    handles = [unet.get_submodule(name).register_forward_hook(adding(adapter)) for name, adapter in adapters.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def changed_weights(weights: Mapping[str, Tensor], adapters: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """`weights` (layer -> (out, in)), with the changes of those that have one added; gradients reach these alone."""
    return {
        name: weight.detach() + adapters[name].change().to(weight.dtype) if name in adapters else weight.detach()
        for name, weight in weights.items()
    }


def add_up(parts: Sequence[Mapping[str, StoredChange]], share: float = 1.0) -> dict[str, Tensor]:
    """share * sum of dW for each projection that any of `parts` has: merging by addition."""
    total: dict[str, Tensor] = {}
    for changes in parts:
        for name, change in changes.items():
            total[name] = total[name].add_(change.dense(), alpha=share) if name in total else share * change.dense()
    return total


@torch.no_grad()
def merged_weights(unet: nn.Module, changes: Changes) -> dict[str, Tensor]:
    """Parameters of the UNet ("....to_q.weight") -> the weight with its change added, in the weight's dtype."""
    made = {}
    for name, change in changes.items():
        weight: Any = unet.get_submodule(name).weight
        made[f"{name}.weight"] = (weight.float() + change).to(weight.dtype)
    return made


def narrowest_input(unet: nn.Module) -> int:
    """How many numbers go into the narrowest projection of `ATTENTION`."""
    return min(module.in_features for name, module in unet.named_modules() if name.endswith(ATTENTION))


# --- orthogonal directions ------------------------------------------------------------------------------------------


def orthogonal_basis(width: int, seed: int) -> Tensor:
    """(width, width) float32 with orthonormal rows, the same for the same seed: what all concepts draw from."""
    generator = torch.Generator().manual_seed(seed)
    basis, upper = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
    return (basis * upper.diagonal().sign()).float()  # without the signs, the library's QR would decide on them


def draw_directions(basis: Tensor, rank: int, generator: torch.Generator) -> Tensor:
    """(rank, width): `rank` different rows of the basis. Raises ValueError for more than it has."""
    if rank > len(basis):
        raise ValueError(f"A basis of {len(basis)} directions does not have {rank}.")
    return basis[torch.randperm(len(basis), generator=generator)[:rank]]
