"""K and V of prompts while some entries of their projections are learned."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.autograd import Function

from cns.entries import Entries, write_over
from cns.kv import KEY, VALUE, LayerKV


def learned_keys_and_values(entries: Entries, weights: Mapping[str, Tensor], values: Tensor, hidden: Tensor) -> LayerKV:
    """`cns.kv.keys_and_values` of `weights` with `values` (n,) in the places of `entries`, to the bit.

    hidden   (batch, tokens, in) text features
    returns  differentiable in `values` and `hidden`; no matrix that was written over is kept for the way back
    """
    made = {
        layer: _Projection.apply(hidden, part, where, weights[layer].detach())
        for layer, where, part in entries.split(values)
    }
    keys = [layer.removesuffix(KEY) for layer in made if layer.endswith(KEY)]
    return {layer: (made[layer + KEY], made[layer + VALUE]) for layer in keys}


class _Projection(Function):
    """hidden (batch, tokens, in) W^T, with values (k,) at the flat positions (k,) of W (out, in)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, values: Tensor, where: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, values, where, weight)
        return hidden @ write_over(weight, where, values).T.to(hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient], [hidden, values, where, weight] = gradients, ctx.saved_tensors
        gradient = gradient.flatten(0, 1)  # (batch * tokens, out)
        of_hidden = of_values = None
        if ctx.needs_input_grad[0]:
            of_hidden = (gradient @ write_over(weight, where, values).to(gradient)).view(hidden.shape)
        if ctx.needs_input_grad[1]:
            of_weight = (gradient.T @ hidden.flatten(0, 1)).to(weight.dtype)
            of_values = of_weight.flatten().gather(0, where).to(values.dtype)
        return of_hidden, of_values, None, None
