"""Layers that learn nothing: gradients go through them, and nothing is kept for it that can be had again.

PyTorch keeps for the way back whatever a layer's own weights would need to learn, and, where it computes in another
dtype than the weights have, a rounded copy of every weight. A frozen layer needs neither: the gradient of its input
depends on its weights alone, and these can be rounded a second time. What is widest, the gated units of feed-forward
layers, is computed a second time from what it was made of. The same operations on the same numbers, so no bit of a
gradient differs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.activations import GEGLU
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import conv2d, gelu, linear

from cns.borrowing import borrowed

Forward = Callable[..., Tensor]
WORTH_IT = 2**14
"""Entries of a weight from which on it pays: calling Python takes longer than leaving the copy of a smaller one."""


def thrifty_gradients(unet: UNet2DConditionModel, worth_it: int = WORTH_IT) -> AbstractContextManager[None]:
    """While the block runs, the frozen layers of `unet` keep as little as they can; afterwards they are as they were.

    worth_it: entries that a layer's largest weight has at least; smaller layers are left alone.
    What goes backwards from a pass need not be inside the block, unless it is checkpointed.
    Blocks of several threads may overlap, and layers are as they were when the last of them has ended. All of these
    need one `worth_it`: a checkpointed pass that finds other layers thrifty on its way back fails. Raises ValueError on
    entering for another one than is in use.
    """
    return borrowed(unet, "thrifty gradients", partial(_be_thrifty, unet, worth_it), how=worth_it)


@contextmanager
def _be_thrifty(unet: UNet2DConditionModel, worth_it: int) -> Iterator[None]:
    layers = [(layer, forward) for layer, forward, size in _frozen_layers(unet) if size >= worth_it]
    try:
        for layer, forward in layers:
            layer.forward = forward
        yield
    finally:
        for layer, _ in layers:
            layer.__dict__.pop("forward", None)  # the one of its class shows again


def _pass_linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
    if not _asks_for_gradient(inputs) or not _is_rounded(layer.weight):  # its inputs nobody keeps anyway
        return linear(inputs, layer.weight, layer.bias)
    made: Tensor = _Linear.apply(inputs, layer.weight, layer.bias)
    return made


def _pass_convolution(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    how: tuple[Any, ...] = (layer.stride, layer.padding, layer.dilation, layer.groups)
    if not _asks_for_gradient(inputs):
        return conv2d(inputs, layer.weight, layer.bias, *how)
    made: Tensor = _Convolution.apply(inputs, layer.weight, layer.bias, how)
    return made


def _pass_gate(layer: GEGLU, inputs: Tensor) -> Tensor:
    if not _asks_for_gradient(inputs):
        hidden, gate = layer.proj(inputs).chunk(2, dim=-1)
        return hidden * gelu(gate)
    made: Tensor = _Gate.apply(inputs, layer.proj.weight, layer.proj.bias)
    return made


def _asks_for_gradient(inputs: Tensor) -> bool:
    return torch.is_grad_enabled() and inputs.requires_grad


def _is_rounded(weight: Tensor) -> bool:
    """Whether it is computed with in another dtype than it has, so that a copy would be kept."""
    kind = weight.device.type
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) is not weight.dtype


class _Linear(Function):
    """inputs (..., in) W^T + b, with its weights as they lie in memory kept, and nothing else."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient], [weight] = gradients, ctx.saved_tensors
        return gradient @ weight.to(gradient.dtype), None, None


class _Convolution(Function):
    """A convolution of inputs (batch, channels, height, width), with its weights kept, and of its inputs the shape."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, how: Sequence[Any]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.strides, ctx.how = inputs.shape, inputs.stride(), how
        return conv2d(inputs, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient], [weight] = gradients, ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        unread = gradient.new_empty(0).new_empty_strided(ctx.shape, ctx.strides)  # the weights' gradient alone reads it
        asked = [True, False, False]
        found: Sequence[Tensor] = torch.ops.aten.convolution_backward(
            gradient, unread, weight.to(gradient.dtype), None, stride, padding, dilation, False, [0, 0], groups, asked
        )
        return found[0], None, None, None


class _Gate(Function):
    """a gelu(b) of projected (..., a and b side by side): GEGLU (Shazeer 2020, arXiv 2002.05202).

    What is projected is eight times as wide as what it is made of, and is made a second time.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        projected = linear(inputs, weight, bias)
        ctx.save_for_backward(inputs.to(projected.dtype), weight, bias)
        hidden, gate = projected.chunk(2, dim=-1)
        return hidden * gelu(gate)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient], [inputs, weight, bias] = gradients, ctx.saved_tensors
        weight = weight.to(inputs.dtype)
        hidden, gate = linear(inputs, weight, None if bias is None else bias.to(inputs.dtype)).chunk(2, dim=-1)
        of_hidden, of_gate = gradient * gelu(gate), torch.ops.aten.gelu_backward(gradient * hidden, gate)
        return torch.cat([of_hidden, of_gate], dim=-1) @ weight, None, None


_PASSES: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Linear: _pass_linear,
    nn.Conv2d: _pass_convolution,
    GEGLU: _pass_gate,
}
_LAYERS: WeakKeyDictionary[UNet2DConditionModel, Sequence[tuple[Any, Forward, int]]] = WeakKeyDictionary()


def _frozen_layers(unet: UNet2DConditionModel) -> Sequence[tuple[Any, Forward, int]]:
    """Each layer that has a thrifty way, that way, and the entries of its largest weight; found once for each UNet."""
    if unet not in _LAYERS:
        _LAYERS[unet] = [
            (part, partial(_PASSES[type(part)], part), max(weight.numel() for weight in part.parameters()))
            for part in unet.modules()
            if _is_frozen(part)
        ]
    return _LAYERS[unet]


def _is_frozen(part: nn.Module) -> bool:
    """Exactly of a type that is known here, and without weights that learn."""
    if type(part) not in _PASSES or any(parameter.requires_grad for parameter in part.parameters()):
        return False
    return not isinstance(part, nn.Conv2d) or part.padding_mode == "zeros"
