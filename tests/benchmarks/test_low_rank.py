"""Low-rank changes: laid over a UNet or merged into it they are the same, and the shared UNet is never written."""

import pytest
import torch
from torch import nn

from benchmarks.continual.low_rank import (
    ATTENTION,
    CROSS_KV,
    LowRank,
    adapted,
    add_up,
    changed_weights,
    draw_directions,
    find_projections,
    merged_weights,
    orthogonal_basis,
    start_adapters,
)
from benchmarks.continual.method import altered_base
from cns.base_model import BaseModel
from cns.kv import handed_attention, keys_and_values, predict


def some_adapters(base: BaseModel, seed: int = 0, endings: tuple[str, ...] = ATTENTION) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(seed)
    adapters = start_adapters(find_projections(base.unet, endings), 2, 1.0, generator)
    for adapter in adapters.values():
        adapter.up.data = torch.randn(adapter.up.shape, generator=generator).to(adapter.up) * 0.1
    return adapters


@torch.no_grad()
def answer(base: BaseModel, adapters: dict[str, LowRank] | None = None) -> torch.Tensor:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).to(base.device)
    hidden = base.text_features(["a photo of a dog"]).hidden
    kv = keys_and_values(changed_weights(base.kv_weights, adapters or {}), hidden)
    with handed_attention(base.unet), adapted(base.unet, adapters or {}):
        return predict(base, noise, torch.tensor([500], device=base.device), kv)


def test_a_change_starts_at_nothing(sd1: BaseModel) -> None:
    adapters = start_adapters(find_projections(sd1.unet, ATTENTION), 4, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(answer(sd1, adapters), answer(sd1))
    assert all(adapter.down.abs().max() > 0 for adapter in adapters.values())


def test_every_attention_has_its_eight_projections(sd1: BaseModel) -> None:
    found = find_projections(sd1.unet, ATTENTION)
    assert len(found) == 8 * len(find_projections(sd1.unet, ("attn1.to_q",)))
    assert set(find_projections(sd1.unet, CROSS_KV)) == set(sd1.kv_weights)


def test_projections_that_a_model_does_not_have_are_refused(sd1: BaseModel) -> None:
    with pytest.raises(ValueError, match="no projection named attn9"):
        find_projections(sd1.unet, ("attn9",))


def test_the_merged_unet_is_the_base_with_its_adapters(sd1: BaseModel) -> None:
    adapters = some_adapters(sd1)
    with torch.no_grad():
        changes = {name: adapter.change() for name, adapter in adapters.items()}
    merged = altered_base(sd1, merged_weights(sd1.unet, changes))
    assert torch.allclose(answer(sd1, adapters), answer(merged), atol=1e-5)
    assert not torch.allclose(answer(sd1), answer(merged), atol=1e-3)


def test_what_is_stored_paints_as_what_was_learned(sd1: BaseModel) -> None:
    adapters = some_adapters(sd1)
    merged = altered_base(
        sd1, merged_weights(sd1.unet, add_up([{name: adapter.store() for name, adapter in adapters.items()}]))
    )
    assert torch.allclose(answer(sd1, adapters), answer(merged), atol=1e-2)


def test_the_shared_unet_is_as_it_was_after_the_block(sd1: BaseModel) -> None:
    checksum, before = sd1.checksum(), answer(sd1)
    with pytest.raises(RuntimeError, match="on the way"), adapted(sd1.unet, some_adapters(sd1)):
        raise RuntimeError("stopped on the way")
    assert sd1.checksum() == checksum
    assert torch.equal(answer(sd1), before)


def test_merging_by_addition_adds_up_a_share_of_each() -> None:
    one = LowRank(torch.ones(1, 2), 2)
    one.up.data.fill_(1.0)
    total = add_up([{"a": one.store()}, {"a": one.store(), "b": one.store()}], share=0.5)
    assert torch.equal(total["a"], torch.full((2, 2), 1.0))
    assert torch.equal(total["b"], torch.full((2, 2), 0.5))


def test_a_basis_is_orthonormal_and_the_same_for_everybody() -> None:
    basis = orthogonal_basis(32, seed=3)
    assert torch.allclose(basis @ basis.T, torch.eye(32), atol=1e-5)
    assert torch.equal(basis, orthogonal_basis(32, seed=3))
    assert not torch.allclose(basis, orthogonal_basis(32, seed=4), atol=1e-2)


def test_concepts_with_other_directions_do_not_touch_each_other() -> None:
    basis = orthogonal_basis(32, seed=0)
    first, second = LowRank(basis[:4], 8, fixed=True), LowRank(basis[4:8], 8, fixed=True)
    generator = torch.Generator().manual_seed(0)
    for adapter in (first, second):
        adapter.up.data = torch.randn(adapter.up.shape, generator=generator)
    inputs_of_first = torch.randn(5, 4, generator=generator) @ basis[:4]
    assert torch.allclose(second(inputs_of_first), torch.zeros(5, 8), atol=1e-5)
    assert first(inputs_of_first).abs().max() > 0.1


def test_drawn_directions_are_rows_of_the_basis_without_repetition() -> None:
    basis = orthogonal_basis(16, seed=0)
    drawn = draw_directions(basis, 6, torch.Generator().manual_seed(1))
    assert torch.allclose(drawn @ drawn.T, torch.eye(6), atol=1e-5)
    assert ((drawn @ basis.T).abs() > 0.99).sum() == 6
    with pytest.raises(ValueError, match="16 directions does not have 17"):
        draw_directions(basis, 17, torch.Generator())


def test_fixed_directions_are_not_among_the_parameters_and_hardly_kept() -> None:
    basis = orthogonal_basis(16, seed=0)
    free, fixed = LowRank(basis[:2].clone(), 8), LowRank(basis[:2], 8, fixed=True)
    assert [name for name, _ in fixed.named_parameters()] == ["up"]
    assert free.store().kept_bytes == 2 * (2 * 8 + 2 * 16)
    assert fixed.store().kept_bytes == 2 * (2 * 8 + 2)


def test_our_layer_is_pefts() -> None:
    """The same A and B in peft's layer give the same output and the same gradients."""
    peft = pytest.importorskip("peft", reason="peft is not installed; the extra `peers` brings it")
    ours = LowRank(torch.randn(4, 6), 5, scale=0.5)
    ours.up.data = torch.randn(5, 4)
    model = nn.Sequential(nn.Linear(6, 5, bias=False))
    weight = model[0].weight.detach().clone()
    config = peft.LoraConfig(r=4, lora_alpha=2, target_modules=["0"])
    theirs = peft.get_peft_model(model, config)
    layer = theirs.base_model.model[0]
    layer.lora_A["default"].weight.data.copy_(ours.down)
    layer.lora_B["default"].weight.data.copy_(ours.up)
    x = torch.randn(3, 6)
    expected, made = layer(x), x @ weight.T + ours(x)
    assert torch.allclose(made, expected, atol=1e-5)
    expected.square().sum().backward()
    made.square().sum().backward()
    assert torch.allclose(ours.down.grad, layer.lora_A["default"].weight.grad, atol=1e-4)
    assert torch.allclose(ours.up.grad, layer.lora_B["default"].weight.grad, atol=1e-4)
