"""K and V that are being learned are those of the written matrices, and so are their gradients and those of guards."""

import pytest
import torch

from cns.base_model import BaseModel
from cns.entries import Entries
from cns.guards import Guard, guarding_gradient
from cns.kv import keys_and_values
from cns.learned_kv import learned_keys_and_values
from cns.losses import energy, feature_moment


def _entries(base: BaseModel) -> tuple[Entries, torch.Tensor]:
    """Some entries of every layer but the first, which has none, and values for them (n,)."""
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.rand(weight.shape, generator=generator) for name, weight in base.kv_weights.items()}
    masks = {name: (numbers < 0.1).to(base.device) for name, numbers in drawn.items()}
    masks[next(iter(masks))][:] = False
    entries = Entries(masks)
    values = entries.gather(base.kv_weights)
    return entries, values + 0.1 * torch.randn(len(values), generator=generator).to(values)


@pytest.mark.parametrize("values_learn", [True, False])
def test_learned_keys_and_values_and_their_gradients_are_those_of_the_written_matrices(
    sd1: BaseModel, values_learn: bool
) -> None:
    entries, start = _entries(sd1)
    features = sd1.text_features(["a photo of a dog", "a mug"]).hidden.detach()
    found = []
    for learned in (True, False):
        values, hidden = start.clone().requires_grad_(values_learn), features.clone().requires_grad_()
        if learned:
            made = learned_keys_and_values(entries, sd1.kv_weights, values, hidden)
        else:
            made = keys_and_values(entries.written_over(sd1.kv_weights, values), hidden)
        sum(part.square().sum() * number for number, pair in enumerate(made.values(), 1) for part in pair).backward()
        found.append((made, values.grad, hidden.grad))
    (ours, of_values, of_hidden), (theirs, expected_values, expected_hidden) = found
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[layer][place], theirs[layer][place]) for layer in theirs for place in (0, 1))
    assert torch.equal(of_hidden, expected_hidden)
    assert torch.equal(of_values, expected_values) if values_learn else of_values is expected_values is None


def test_what_guards_pulls_along_the_gradient_of_drift_and_interference(sd1: BaseModel) -> None:
    entries, values = _entries(sd1)
    change = (values - entries.gather(sd1.kv_weights)).requires_grad_()
    moments = [feature_moment(sd1.text_features(prompts).hidden) for prompts in (["a dog", "a mug"], ["red and blue"])]
    guards = [
        Guard(
            firmness,
            moment,
            {layer: torch.tensor(float(number), device=sd1.device) for number, layer in enumerate(entries.where, 1)},
        )
        for firmness, moment in zip((2.0, 0.3), moments, strict=True)
    ]
    moved = entries.written_over({name: torch.zeros_like(one) for name, one in sd1.kv_weights.items()}, change)
    losses = [
        guard.firmness * energy(moved[layer], guard.moment) / guard.against[layer]
        for layer in entries.where
        for guard in guards
    ]
    (sum(losses) / len(entries.where)).backward()
    assert change.grad is not None
    found = guarding_gradient(guards, entries, change, sd1.kv_weights, scale=4.0)
    assert torch.allclose(found, 4 * change.grad, rtol=1e-5)
    assert found.abs().min() > 0
