"""Delta files of every format there was are read, and files that somebody made up are refused with a sentence."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from cns.delta import FORMAT, Delta
from cns.errors import DamagedDelta, DeltaError, ForeignFile
from cns.history_folder import HistoryFolder

LAYER, SHAPE = "a.attn2.to_k", (40, 60)


def _delta(name: str = "rex", parent: str | None = None, seed: int = 0) -> Delta:
    generator = torch.Generator().manual_seed(seed)
    where = torch.randperm(2400, generator=generator)[:140].sort().values
    return Delta(
        concept=name,
        class_noun="dog",
        base_id="ab" * 32,
        parent=parent,
        positions={LAYER: where},
        values={LAYER: torch.randn(140, generator=generator).half()},
        shapes={LAYER: SHAPE},
        token_vectors=(torch.randn(5, generator=generator),),
        settings={"steps": 3},
        report={"density": {"concept": 0.05}},
    )


def _facts(delta: Delta, form: str) -> dict[str, Any]:
    return {
        "format": form,
        "concept": delta.concept,
        "class_noun": delta.class_noun,
        "base_id": delta.base_id,
        "parent": delta.parent,
        "shapes": {layer: list(shape) for layer, shape in delta.shapes.items()},
        "settings": dict(delta.settings),
        "report": dict(delta.report),
        **({"reach": delta.reach} if form in ("palimpsest-delta-3", FORMAT) else {}),
        **({"guided": delta.guided} if form == FORMAT else {}),
    }


def _write(facts: Any, tensors: dict[str, Tensor]) -> bytes:
    """A sealed file, as anybody can make one."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    seal = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        seal.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}\n".encode())
        seal.update(tensors[name].numpy().tobytes())
    written: bytes = save(tensors, metadata={"palimpsest": f"{seal.hexdigest()} {text}"})
    return written


def _write_format_1(delta: Delta) -> bytes:
    """The file of before: a mask for each layer, one bit an entry."""
    tensors = {"token.0": delta.token_vectors[0]}
    for layer, where in delta.positions.items():
        mask = np.zeros(delta.shapes[layer][0] * delta.shapes[layer][1], dtype=bool)
        mask[where.numpy()] = True
        tensors[f"mask.{layer}"] = torch.from_numpy(np.packbits(mask))
        tensors[f"values.{layer}"] = delta.values[layer]
    return _write(_facts(delta, "palimpsest-delta-1"), tensors)


def _write_format_3(delta: Delta) -> bytes:
    """The file of before: all its pictures are guided all the way."""
    return _write(_facts(delta, "palimpsest-delta-3"), load(delta.to_bytes()))


def _write_format_2(delta: Delta) -> bytes:
    """The file of before: of how far the values reach it says nothing."""
    return _write(_facts(delta, "palimpsest-delta-2"), load(delta.to_bytes()))


# --- earlier formats --------------------------------------------------------------------------------------------------


def test_a_file_of_the_first_format_is_read() -> None:
    delta = _delta()
    old = _write_format_1(delta)
    again = Delta.from_bytes(old, base_id=delta.base_id)
    assert torch.equal(again.positions[LAYER], delta.positions[LAYER])
    assert torch.equal(again.values[LAYER], delta.values[LAYER])
    assert (again.concept, again.parent, again.settings) == (delta.concept, delta.parent, delta.settings)


def test_the_values_of_earlier_formats_reach_everywhere() -> None:
    for old in (_write_format_1(_delta()), _write_format_2(_delta())):
        again = Delta.from_bytes(old)
        assert again.reach == "everywhere"
        assert again.to_bytes() == old
        assert replace(again).to_bytes() == _delta().to_bytes()


def test_how_far_values_reach_is_kept_and_counts() -> None:
    near = replace(_delta(), reach="token")
    assert Delta.from_bytes(near.to_bytes()).reach == "token"
    assert near.digest != _delta().digest


def test_pictures_of_the_third_format_are_guided_all_the_way() -> None:
    near = replace(_delta(), reach="token")
    again = Delta.from_bytes(_write_format_3(near))
    assert (again.reach, again.guided) == ("token", 1.0)
    assert again.to_bytes() == _write_format_3(near)
    assert replace(again).to_bytes() == near.to_bytes()


def test_for_how_long_pictures_are_guided_is_kept_and_counts() -> None:
    wide = replace(_delta(), guided=0.12)
    assert Delta.from_bytes(wide.to_bytes()).guided == 0.12
    assert wide.digest != _delta().digest


def test_a_delta_that_was_read_keeps_the_name_that_histories_know_it_by() -> None:
    old = _write_format_1(_delta())
    again = Delta.from_bytes(old)
    assert again.digest == hashlib.sha256(old).hexdigest()
    assert again.to_bytes() == old


def test_what_is_written_is_always_the_newest_format_and_shorter() -> None:
    delta = _delta()
    old = Delta.from_bytes(_write_format_1(delta))
    for made in (delta, replace(old, parent="cd" * 32)):
        written = made.to_bytes()
        assert FORMAT.encode() in written
        assert set(load(written)) == {f"positions.{LAYER}", f"values.{LAYER}", "token.0"}
        assert len(load(written)[f"positions.{LAYER}"]) < 2400 / 8
    assert replace(old).to_bytes() == delta.to_bytes()


def test_a_history_with_a_delta_of_the_first_format_goes_on(tmp_path: Path) -> None:
    folder = HistoryFolder.create(tmp_path / "history", "a base", "ab" * 32)
    old = Delta.from_bytes(_write_format_1(_delta()))
    with folder.writing():
        folder.publish(old, ())
        folder.publish(_delta("momo", parent=old.digest, seed=1), ())
    first, second = (folder.load_delta(version) for version in HistoryFolder.open(folder.folder).history.versions)
    assert first.to_bytes() == _write_format_1(_delta())
    assert second.parent == first.digest
    assert FORMAT.encode() in second.to_bytes()


def test_a_mask_of_the_first_format_that_does_not_fit_its_values_is_refused() -> None:
    delta = _delta()
    for values in (delta.values[LAYER][:-1], torch.zeros(141).half()):
        with pytest.raises(DamagedDelta, match="there are not"):
            Delta.from_bytes(_write_format_1(replace(delta, values={LAYER: values})))


# --- what somebody made up --------------------------------------------------------------------------------------------


def _made_up(change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> bytes:
    facts, tensors = _facts(_delta(), FORMAT), load(_delta().to_bytes())
    change(facts, tensors)
    return _write(facts, tensors)


def test_the_same_helper_writes_what_a_delta_writes() -> None:
    assert Delta.from_bytes(_made_up(lambda facts, tensors: None)).to_bytes() == _delta().to_bytes()


def _put(name: str, tensor: Tensor) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    return lambda facts, tensors: tensors.update({name: tensor})


def _say(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    return lambda facts, tensors: facts.update({name: value})


def _code() -> Tensor:
    return load(_delta().to_bytes())[f"positions.{LAYER}"]


@pytest.mark.parametrize(
    "change",
    [
        _put(f"positions.{LAYER}", _code()[:-1]),
        _put(f"positions.{LAYER}", torch.cat([_code(), torch.zeros(1, dtype=torch.uint8)])),
        _put(f"positions.{LAYER}", torch.full_like(_code(), 255)),
        _put(f"positions.{LAYER}", torch.zeros_like(_code())),
        _put(f"positions.{LAYER}", _code().float()),
        _put(f"positions.{LAYER}", _code().view(1, -1)),
        _put(f"values.{LAYER}", torch.zeros(139).half()),
        _put(f"values.{LAYER}", torch.zeros(140)),
        _put(f"values.{LAYER}", torch.zeros(140, 1).half()),
        _put(f"values.{LAYER}", torch.tensor(0.0).half()),
        _put(f"values.{LAYER}", torch.full((140,), float("inf")).half()),
        _put("token.0", torch.full((5,), float("nan"))),
        _put("token.0", torch.zeros(5).long()),
        _say("shapes", {LAYER: [40, 59]}),
        _say("shapes", {LAYER: [4, 6]}),
        _say("shapes", {LAYER: [2**40, 2**40]}),
        _say("shapes", {LAYER: [65536, 65536]}),
        _say("shapes", {LAYER: [-40, -60]}),
        _say("shapes", {LAYER: [40.0, 60.0]}),
        _say("shapes", {LAYER: [2400]}),
        _say("shapes", {LAYER: "forty"}),
        _say("shapes", [LAYER]),
        _say("shapes", {"b.attn2.to_k": [40, 60]}),
        _say("concept", None),
        _say("concept", ""),
        _say("concept", "../../victim/diffusion_pytorch_model"),
        _say("concept", "rex\n"),
        _say("class_noun", 3),
        _say("base_id", ["ab"]),
        _say("parent", 1),
        _say("settings", "none"),
        _say("settings", {"selection": [0.3]}),
        _say("report", None),
        _say("report", {"captions": "a photo of a <rex> dog"}),
        _say("report", {"captions": ["a photo of a <rex> dog", None]}),
        _say("reach", "nowhere"),
        _say("reach", None),
        _say("reach", ["token"]),
        _say("guided", None),
        _say("guided", 0),
        _say("guided", 1.5),
        _say("guided", True),
        _say("guided", "all"),
    ],
)
def test_a_sealed_file_that_no_delta_could_have_written_is_damaged(
    change: Callable[[dict[str, Any], dict[str, Tensor]], None],
) -> None:
    with pytest.raises(DamagedDelta, match=r"^This delta is damaged: .+\.$"):
        Delta.from_bytes(_made_up(change))


@pytest.mark.parametrize("form", ["palimpsest-delta-5", None, ["palimpsest-delta-2"], 2])
def test_a_format_that_is_not_known_is_foreign(form: Any) -> None:
    with pytest.raises(ForeignFile, match="does not know"):
        Delta.from_bytes(_made_up(_say("format", form)))


def test_facts_that_are_not_an_object_are_foreign() -> None:
    with pytest.raises(ForeignFile, match="does not know"):
        Delta.from_bytes(_write([FORMAT], load(_delta().to_bytes())))


def test_a_tensor_of_a_kind_that_no_delta_has_and_a_nested_header_are_refused() -> None:
    strange = save({"token.0": torch.zeros(5).bfloat16()}, metadata={"palimpsest": f"{'0' * 64} {{}}"})
    nested = b"[" * 200_000
    for data in (strange, len(nested).to_bytes(8, "little") + nested):
        with pytest.raises(DeltaError):
            Delta.from_bytes(data)


def test_positions_that_do_not_ascend_are_not_written() -> None:
    delta = _delta()
    for where in (delta.positions[LAYER].flip(0), delta.positions[LAYER] + 2400):
        with pytest.raises(ValueError, match="do not ascend"):
            replace(delta, positions={LAYER: where}).to_bytes()


def test_a_layer_without_a_value_is_read_as_it_was_written() -> None:
    nothing = replace(_delta(), positions={LAYER: torch.zeros(0).long()}, values={LAYER: torch.zeros(0).half()})
    for data in (nothing.to_bytes(), _write_format_1(nothing)):
        assert Delta.from_bytes(data).positions[LAYER].tolist() == []
