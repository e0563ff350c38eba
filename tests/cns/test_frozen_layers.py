"""Frozen layers give the gradients that they always gave, and keep less for them."""

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from cns.base_model import BaseModel
from cns.frozen_layers import thrifty_gradients
from cns.kv import handed_attention, keys_and_values, predict

EVERY_LAYER = 0


def _pass(base: BaseModel, mixed: bool) -> Tensor:
    """A pass of two rows, and back to their text features: (2, tokens, width)."""
    features = base.text_features(["a photo of a dog", "a red mug at night"])
    hidden = features.hidden.clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, base.unet.config.in_channels, 8, 8, generator=generator).to(base.device)
    added = base.added_conditions(features.pooled, 16, 16)
    times = torch.tensor([10, 500], device=base.device)
    with torch.autocast(base.device.type, torch.bfloat16, enabled=mixed):
        made = predict(base, latents, times, keys_and_values(base.kv_weights, hidden), added)
    made.float().square().sum().backward()
    assert hidden.grad is not None
    return hidden.grad


def _kept_bytes(work: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What `work` gives, and the bytes of all that was kept for its way back beyond weights."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        return work(), sum(kept.values())


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("shape", ["sd1", "sdxl"])
def test_gradients_are_the_same_to_the_bit_and_less_is_kept(
    shape: str, mixed: bool, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    with handed_attention(base.unet):
        plain, much = _kept_bytes(lambda: _pass(base, mixed))
        with thrifty_gradients(base.unet, EVERY_LAYER):
            thrifty, little = _kept_bytes(lambda: _pass(base, mixed))
    assert torch.equal(thrifty, plain)
    assert plain.abs().sum() > 0
    assert little < (0.7 if mixed else 0.95) * much


def test_checkpointing_goes_through_thrifty_layers(sd1: BaseModel) -> None:
    found = []
    with handed_attention(sd1.unet):
        sd1.unet.enable_gradient_checkpointing()
        try:
            for way in (nullcontext(), thrifty_gradients(sd1.unet, EVERY_LAYER)):
                with way:
                    found.append(_pass(sd1, mixed=True))
        finally:
            sd1.unet.disable_gradient_checkpointing()
    assert torch.equal(*found)


def test_layers_are_afterwards_as_they_were_also_after_an_error(sd1: BaseModel) -> None:
    checksum = sd1.checksum()
    with thrifty_gradients(sd1.unet, EVERY_LAYER):
        assert any("forward" in vars(part) for part in sd1.unet.modules())
    with pytest.raises(ZeroDivisionError), thrifty_gradients(sd1.unet, EVERY_LAYER):
        1 / 0  # noqa: B018
    assert not any("forward" in vars(part) for part in sd1.unet.modules())
    assert sd1.checksum() == checksum


def test_a_layer_that_learns_is_left_alone(sd1: BaseModel) -> None:
    unet = deepcopy(sd1.unet)
    unet.conv_out.requires_grad_(True)
    with thrifty_gradients(unet, EVERY_LAYER):
        assert "forward" not in vars(unet.conv_out)
        assert "forward" in vars(unet.mid_block.resnets[0].conv1)
