"""The selected entries of many matrices as one vector, and back."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class Entries:
    """Which entries of which layers are learned.

    where: layer -> (k,) int64, ascending flat positions in its matrix (out, in). The vector of values, (n,), has those
    of all layers one after the other, in this order.
    """

    def __init__(self, masks: Mapping[str, Tensor]):
        """masks: layer -> (out, in) bool."""
        self.where = {layer: mask.flatten().nonzero().flatten() for layer, mask in masks.items()}
        self._sizes = [len(where) for where in self.where.values()]

    def gather(self, weights: Mapping[str, Tensor]) -> Tensor:
        """(n,) float32: what stands in these entries of `weights`, without its history of gradients."""
        return torch.cat([weights[layer].detach().flatten()[where].float() for layer, where in self.where.items()])

    def marked(self, masks: Mapping[str, Tensor]) -> Tensor:
        """(n,) bool: which of them are marked by `masks`; a layer without a mask has none."""
        return torch.cat(
            [
                masks[layer].to(where.device).flatten()[where]
                if layer in masks
                else torch.zeros(len(where), dtype=torch.bool, device=where.device)
                for layer, where in self.where.items()
            ]
        )

    def split(self, vector: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each layer, its positions (k,), and its part (k,) of `vector` (n,)."""
        for (layer, where), part in zip(self.where.items(), vector.split(self._sizes), strict=True):
            yield layer, where, part

    def written_over(self, weights: Mapping[str, Tensor], values: Tensor) -> dict[str, Tensor]:
        """Copies of `weights` with `values` (n,) in these entries; gradients reach `values` alone."""
        return {layer: write_over(weights[layer].detach(), where, part) for layer, where, part in self.split(values)}


def write_over(weight: Tensor, where: Tensor, values: Tensor) -> Tensor:
    """A copy of `weight` (out, in) with `values` (k,) at the flat positions `where` (k,), in the weight's dtype."""
    return weight.flatten().scatter(0, where, values.to(weight.dtype)).view(weight.shape)
