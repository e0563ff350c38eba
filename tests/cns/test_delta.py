"""A delta's file: the same content gives the same bytes, and nothing that is not whole is ever read."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from cns.delta import Delta
from cns.errors import DamagedDelta, DeltaError, ForeignFile, WrongBase


def _delta(seed: int = 0, **changes: object) -> Delta:
    generator = torch.Generator().manual_seed(seed)
    positions = {
        layer: torch.randperm(24, generator=generator)[:7].sort().values for layer in ("b.attn2.to_v", "a.attn2.to_k")
    }
    made = Delta(
        concept="rex",
        class_noun="dog",
        base_id="ab" * 32,
        parent=None,
        positions=positions,
        values={layer: torch.randn(7, generator=generator).half() for layer in positions},
        shapes=dict.fromkeys(positions, (4, 6)),
        token_vectors=(torch.randn(5, generator=generator),),
        settings={"steps": 3, "selection": {"fraction": 0.3}},
        report={"density": {"concept": 0.05}},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_delta_survives_its_file() -> None:
    delta = _delta()
    again = Delta.from_bytes(delta.to_bytes(), base_id=delta.base_id)
    assert again.digest == delta.digest
    assert (again.concept, again.class_noun, again.parent) == ("rex", "dog", None)
    assert again.token.strip("<>") == "rex"
    assert again.settings == delta.settings
    assert again.report == delta.report
    for layer, where in delta.positions.items():
        assert torch.equal(again.positions[layer], where)
        assert torch.equal(again.values[layer], delta.values[layer])
    assert torch.equal(again.token_vectors[0], delta.token_vectors[0])


def test_the_same_content_gives_the_same_bytes_in_whatever_order_it_came() -> None:
    delta = _delta()
    turned = replace(
        delta,
        positions=dict(reversed(list(delta.positions.items()))),
        values=dict(reversed(list(delta.values.items()))),
        settings={"selection": {"fraction": 0.3}, "steps": 3},
    )
    assert turned.to_bytes() == delta.to_bytes()


def test_other_content_gives_another_digest() -> None:
    assert len({_delta().digest, _delta(seed=1).digest, _delta(parent="cd" * 32).digest}) == 3


def test_a_delta_of_another_base_is_refused() -> None:
    with pytest.raises(WrongBase, match="another base model"):
        Delta.from_bytes(_delta().to_bytes(), base_id="cd" * 32)


def test_any_flipped_byte_is_found() -> None:
    data = bytearray(_delta().to_bytes())
    for place in range(0, len(data), 3):
        data[place] ^= 0x11
        with pytest.raises((DamagedDelta, ForeignFile)):
            Delta.from_bytes(bytes(data))
        data[place] ^= 0x11


@pytest.mark.parametrize("kept", [0, 4, 40, 0.5, -1])
def test_a_file_that_is_cut_short_is_refused(kept: float) -> None:
    data = _delta().to_bytes()
    end = int(len(data) * kept) if isinstance(kept, float) else kept
    with pytest.raises(DeltaError):
        Delta.from_bytes(data[:end])


def test_a_foreign_safetensors_file_and_a_picture_are_not_deltas() -> None:
    with pytest.raises(ForeignFile, match="not a delta"):
        Delta.from_bytes(save({"weight": torch.zeros(3)}))
    with pytest.raises(ForeignFile):
        Delta.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))


def test_values_that_are_not_finite_are_refused() -> None:
    delta = _delta()
    broken = {layer: values.clone().fill_(float("nan")) for layer, values in delta.values.items()}
    with pytest.raises(DamagedDelta, match="do not fit"):
        Delta.from_bytes(replace(delta, values=broken).to_bytes())
