"""Composing is exact: later values win, fewer deltas give the earlier state to the bit, the base is never written."""

from dataclasses import replace

import pytest
import torch

from cns.base_model import BaseModel
from cns.compose import compose, owned_positions
from cns.delta import Delta
from cns.errors import DeltaError, WrongBase


def make_delta(base: BaseModel, name: str, seed: int, share: float = 0.3, parent: str | None = None) -> Delta:
    """A delta with random values at random positions of every layer of `base`."""
    generator = torch.Generator().manual_seed(seed)
    positions, values, shapes = {}, {}, {}
    for layer, weight in base.kv_weights.items():
        count = round(share * weight.numel())
        positions[layer] = torch.randperm(weight.numel(), generator=generator)[:count].sort().values
        values[layer] = torch.randn(count, generator=generator).half()
        shapes[layer] = (weight.shape[0], weight.shape[1])
    vectors = tuple(torch.randn(v.shape, generator=generator) for v in base.token_vectors("cat"))
    return Delta(name, "cat", base.id, parent, positions, values, shapes, vectors)


def test_a_bare_version_is_the_base_itself(sd1: BaseModel) -> None:
    version = compose(sd1)
    assert version.digest is None
    assert all(version.weights[layer] is weight for layer, weight in sd1.kv_weights.items())


def test_selected_entries_take_their_values_and_no_other_entry_moves(sd1: BaseModel) -> None:
    delta = make_delta(sd1, "rex", 1)
    version = compose(sd1, [delta])
    for layer, weight in sd1.kv_weights.items():
        flat, before = version.weights[layer].flatten(), weight.flatten()
        where = delta.positions[layer]
        assert torch.equal(flat[where], delta.values[layer].to(flat))
        others = torch.ones(len(flat), dtype=torch.bool)
        others[where] = False
        assert torch.equal(flat[others], before[others])


def test_of_two_overlapping_edits_the_later_one_stands(sd1: BaseModel) -> None:
    first, second = make_delta(sd1, "a", 1, share=0.6), make_delta(sd1, "b", 2, share=0.6)
    version = compose(sd1, [first, second])
    turned = compose(sd1, [second, first])
    layer = next(iter(sd1.kv_weights))
    shared = torch.tensor(sorted(set(first.positions[layer].tolist()) & set(second.positions[layer].tolist())))
    assert len(shared) > 0
    assert not torch.equal(version.weights[layer].flatten()[shared], turned.weights[layer].flatten()[shared])


def test_rolling_back_gives_the_earlier_weights_to_the_bit(sd1: BaseModel) -> None:
    first, second = make_delta(sd1, "a", 1), make_delta(sd1, "b", 2)
    before = {layer: weight.clone() for layer, weight in compose(sd1, [first]).weights.items()}
    compose(sd1, [first, second])
    after = compose(sd1, [first])
    assert all(torch.equal(after.weights[layer], weight) for layer, weight in before.items())


def test_composing_leaves_the_base_as_it_was(sd1: BaseModel) -> None:
    checksum = sd1.checksum()
    compose(sd1, [make_delta(sd1, "a", 1), make_delta(sd1, "b", 2)])
    assert sd1.checksum() == checksum


def test_owned_positions_are_the_union_of_the_masks(sd1: BaseModel) -> None:
    first, second = make_delta(sd1, "a", 1), make_delta(sd1, "b", 2)
    owned = owned_positions([first, second])
    for layer in sd1.kv_weights:
        expected = set(first.positions[layer].tolist()) | set(second.positions[layer].tolist())
        assert set(owned[layer].flatten().nonzero().flatten().tolist()) == expected


def test_a_delta_of_another_base_or_shape_is_refused(sd1: BaseModel) -> None:
    delta = make_delta(sd1, "rex", 1)
    with pytest.raises(WrongBase):
        compose(sd1, [replace(delta, base_id="00" * 32)])
    shapes = {layer: (shape[0] + 1, shape[1]) for layer, shape in delta.shapes.items()}
    with pytest.raises(WrongBase):
        compose(sd1, [replace(delta, shapes=shapes)])


def test_a_concept_cannot_be_in_a_version_twice(sd1: BaseModel) -> None:
    with pytest.raises(DeltaError, match="twice"):
        compose(sd1, [make_delta(sd1, "rex", 1), make_delta(sd1, "rex", 2)])
