"""Serving is measured as it says: the peers draw the same pictures, and figures have the shape they should."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from math import inf
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.bars import Bar
from benchmarks.serving import beside, compiled, growth, limit, mixed, sizes, switching
from benchmarks.serving.ours import Ours, rows_of
from benchmarks.serving.peers import (
    CopiedKeysAndValues,
    HotSwappedLora,
    LoadedKeysAndValues,
    LoraTenants,
    draw_plain,
)
from benchmarks.serving.peft_batch import MixedLoraBatch
from benchmarks.serving.shapes import attention_shapes, kv_shapes, sd15_unet
from benchmarks.serving.tenants import PROMPT, SHARE, random_delta, random_lora, random_weights
from benchmarks.serving.versions import Known
from cns.base_model import BaseModel
from cns.compiling import Form
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, generate
from cns.kv import LayerKV, predict

ASKED = GenerationRequest(PROMPT, seed=3, steps=3, guidance=4.0)
NEAR = 1e-4


def silent(words: str) -> None:
    """Nobody watches."""


@pytest.fixture(params=["sd1", "sd2", "sdxl"])
def base(request: pytest.FixtureRequest) -> BaseModel:
    found: BaseModel = request.getfixturevalue(request.param)
    return found


# --- the peers draw what they should ------------------------------------------------------------------------------


def test_the_pipeline_of_the_peers_draws_what_ours_draws(base: BaseModel) -> None:
    ours = generate(base, compose(base), [ASKED])[0]
    assert (draw_plain(base)(0, ASKED) - ours).abs().max() < NEAR


def test_custom_diffusions_weights_draw_the_same_loaded_and_copied_as_in_ours(base: BaseModel) -> None:
    before = base.checksum()
    weights = [random_weights(base, 1), {layer: weight + 0.05 for layer, weight in random_weights(base, 2).items()}]
    ours = generate(base, Version((), weights[1], {}), [ASKED])[0]
    for peer in (LoadedKeysAndValues(base, weights), CopiedKeysAndValues(base, weights)):
        assert (peer.draw(1, ASKED) - ours).abs().max() < NEAR
        assert (peer.draw(0, ASKED) - ours).abs().max() > NEAR
    assert base.checksum() == before


def test_a_lora_that_changes_nothing_draws_what_the_base_draws(sd1: BaseModel) -> None:
    pytest.importorskip("peft", reason="peft is not installed; the extra `peers` brings it")
    ours = generate(sd1, compose(sd1), [ASKED])[0]
    nothing, something = random_lora(sd1, 1, size=0.0), random_lora(sd1, 2, size=1.0)
    for peer in (LoraTenants(sd1, [nothing, something]), HotSwappedLora(sd1, [nothing, something])):
        assert (peer.draw(1, ASKED) - ours).abs().max() > NEAR
        assert (peer.draw(0, ASKED) - ours).abs().max() < NEAR


def test_pefts_mixed_batch_draws_each_tenants_picture(sd1: BaseModel) -> None:
    pytest.importorskip("peft", reason="peft is not installed; the extra `peers` brings it")
    loras = [random_lora(sd1, number, size=1.0) for number in range(3)]
    requests = [replace(ASKED, seed=number) for number in range(3)]
    together = MixedLoraBatch(sd1, loras).draw([2, 0, 1], requests)
    alone = LoraTenants(sd1, loras)
    for tenant, request, picture in zip([2, 0, 1], requests, together, strict=True):
        assert (alone.draw(tenant, request) - picture).abs().max() < NEAR


def test_many_versions_in_one_batch_are_drawn_as_each_alone(sd1: BaseModel) -> None:
    versions = [compose(sd1, [random_delta(sd1, f"t{number}", number)]) for number in range(3)]
    requests = [replace(ASKED, prompt=f"a <t{number}> dog", seed=number) for number in range(3)]
    ours = Ours(sd1, 3 * rows_of(ASKED))
    together = ours.paint([lambda version=version: version for version in versions], requests)
    for version, request, picture in zip(versions, requests, together, strict=True):
        assert (generate(sd1, version, [request])[0] - picture).abs().max() < NEAR


# --- what tenants bring ----------------------------------------------------------------------------------------------


def test_a_tenants_delta_changes_the_share_of_every_layer_that_it_says(sd1: BaseModel) -> None:
    delta = random_delta(sd1, "rex", 1)
    assert set(delta.positions) == set(sd1.kv_weights)
    entries = sum(weight.numel() for weight in sd1.kv_weights.values())
    assert delta.size / entries == pytest.approx(SHARE, rel=0.2)
    assert delta.digest == random_delta(sd1, "rex", 1).digest


def test_a_version_comes_from_wherever_it_is_and_is_the_same(sd1: BaseModel, tmp_path: Path) -> None:
    known, delta = Known(sd1, tmp_path), random_delta(sd1, "rex", 1)
    known.store(0, delta)
    first = known.get(0)
    assert known.get(0) is first
    known.forget_weights(0)
    second = known.get(0)
    known.forget(0)
    for other in (second, known.get(0), compose(sd1, [delta])):
        assert other is not first
        assert all(torch.equal(other.weights[layer], weight) for layer, weight in first.weights.items())


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_stable_diffusions_shape_has_the_entries_it_is_known_for() -> None:
    unet = sd15_unet()
    assert sum(out * width for out, width in kv_shapes(unet).values()) == 19_169_280
    assert len(kv_shapes(unet)) == 32
    assert len(attention_shapes(unet)) == 128


def test_the_bound_is_entropy_and_sixteen_bits_a_value() -> None:
    assert sizes.binary_entropy(0.5) == 1
    assert sizes.binary_entropy(0.0) == 0
    delta = sizes.make_delta({"a.attn2.to_k": (100, 100)}, 0.1)
    entropy = 10_000 * sizes.binary_entropy(delta.size / 10_000) / 8
    assert sizes.bound_bytes(delta) == pytest.approx(2 * delta.size + entropy)
    codes = sizes.position_bytes(delta)
    assert codes["one bit an entry"] == 1250
    assert codes["least there is"] < codes[sizes.OURS] < 1250
    assert codes["least there is"] == pytest.approx(entropy)
    assert min(codes.values()) == codes["least there is"]


def test_a_rice_code_has_the_length_of_its_quotients_and_low_bits() -> None:
    assert sizes.rice_bits(torch.tensor([0, 0, 0]).numpy()) == 3
    assert sizes.rice_bits(torch.tensor([4, 5]).numpy()) == min(9 + 2, 4 + 2 * 2, 2 + 2 * 3, 2 * 4)


def test_a_lora_is_as_large_as_its_two_matrices() -> None:
    small, large = (sizes.lora_bytes({"a.attn2.to_k": (64, 32)}, rank) for rank in (4, 16))
    assert large - small == pytest.approx(2 * 12 * (64 + 32), abs=16)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_mixed_tenants_are_timed_in_every_way(sd1: BaseModel) -> None:
    pytest.importorskip("peft", reason="peft is not installed; the extra `peers` brings it")
    plan = mixed.Plan(tenants=2, limits=(1, 2), steps=1, rounds=1, compiled=False)
    figures = mixed.measure(sd1, plan, silent)
    assert {len(seconds) for seconds in figures["seconds"].values()} == {1}
    assert len(figures["seconds"]) == 2 * 2 + 1 + 6
    told = mixed.report(figures, as_json(plan))
    assert len(told.bars) == 2 + 4
    assert len(told.tables) == 2


def test_switches_are_timed_in_every_state_and_at_every_count(sd1: BaseModel) -> None:
    pytest.importorskip("peft", reason="peft is not installed; the extra `peers` brings it")
    plan = switching.Plan(counts=(1, 3, 4), tries=1, rounds=2, steps=2, adapters=3)
    figures = switching.measure(sd1, plan, silent)
    assert set(figures["switches"]) == {"1", "3", "4"}
    assert len(switching.report(figures, as_json(plan)).bars) == 6
    assert set(figures["switches"].pop("4")) == {"ours, disk", "ours, memory", "ours, ready"}
    for by_name in figures["switches"].values():
        assert {name: len(seconds) for name, seconds in by_name.items()} == dict.fromkeys(by_name, 2)
        assert set(by_name) >= {
            f"{who}, {state}" for who in ("ours", "set_adapters") for state in (*switching.STATES, "disk")
        }


def test_the_nearest_peer_is_the_one_of_the_same_state() -> None:
    found = {1: {"ours, ready": 1.0, "a, ready": 30.0, "b, ready": 20.0, "a, disk": 2.0}}
    assert switching._nearest(found, "ready") == 20


def test_a_picture_is_waited_for_beside_learnings_and_behind_them(sd1: BaseModel) -> None:
    plan = beside.Plan(learnings=(0, 2), requests=2, steps=2, batch=2, job_steps=2, rounds=1)
    figures = beside.measure(sd1, plan, silent)
    assert {count: len(waits) for count, waits in figures["ours"].items()} == {"0": 2, "2": 2}
    assert figures["learning_alone"]["2"][0] > 0
    told = beside.report(figures, as_json(plan))
    assert [bar.name for bar in told.bars] == ["p95 of a picture beside 2 learnings, against idle"]


def test_growth_has_a_number_for_every_concept_and_curve(sd1: BaseModel) -> None:
    plan = growth.Plan(concepts=3, learned=1, batch=2, steps=2, sd15_versions=1)
    figures = growth.measure(sd1, plan, silent)
    assert {len(curve) for curve in figures["curves"].values()} == {3}
    stored = figures["curves"]["stored_bytes"]
    assert stored == sorted(stored)
    told = growth.report(figures, as_json(plan))
    assert set(told.charts) == {"growth", "growth-bytes"}
    assert all(chart.startswith("<svg") for chart in told.charts.values())


def test_growth_is_the_last_tenth_against_the_first() -> None:
    assert growth.growth_of([1.0, 5.0, 5.0, 2.0]) == 2
    assert growth.added([3.0, 5.0, 9.0]) == [3, 2, 4]


def test_operations_are_two_for_each_product_of_a_matrix() -> None:
    left, right = torch.ones(8, 16), torch.ones(16, 4)
    assert limit.count_operations(lambda: left @ right) == 2 * 8 * 16 * 4
    heads = torch.ones(1, 2, 8, 4)
    attend = torch.nn.functional.scaled_dot_product_attention
    assert limit.count_operations(lambda: attend(heads, heads, heads)) == 2 * (2 * 2 * 8 * 8 * 4)


def test_a_step_of_twice_the_pictures_has_twice_the_operations(sd1: BaseModel) -> None:
    plan = limit.Plan(limits=(1, 2), calls=1, rounds=1)
    figures = limit.measure(sd1, plan, silent)
    assert figures["operations"]["2"] == 2 * figures["operations"]["1"]
    assert f"step of {2}" in limit.report(figures, as_json(plan)).tables[0]


def as_json(plan: object) -> dict[str, object]:
    """As results keep a plan."""
    kept: dict[str, object] = json.loads(json.dumps(asdict(plan)))  # type: ignore[call-overload]
    return kept


# --- a compiled step ----------------------------------------------------------------------------------------------


class Compiles:
    """In no time: what it makes is the eager step."""

    def __init__(self, base: BaseModel):
        self._base = base

    def compile(self, form: Form) -> Callable[..., Tensor]:
        def step(latents: Tensor, timesteps: Tensor, kv: LayerKV, added: Mapping[str, Tensor] | None = None) -> Tensor:
            assert Form.of(latents, kv, added) == form
            return predict(self._base, latents, timesteps, kv, added)

        step.takes = lambda rows: rows >= 2  # type: ignore[attr-defined]
        return step

    def stop(self) -> None:
        """Nothing runs."""


def test_a_compiled_step_is_timed_beside_the_eager_one_and_as_a_worker_takes_it(
    sd1: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "Compiler", Compiles)
    monkeypatch.setattr("worker.compiled_steps.LONGEST_S", inf)  # a busy machine may stand still during a step
    plan = replace(compiled.QUICK, rounds=2)
    figures = compiled.measure(sd1, plan, silent)
    assert {rows: set(taken) for rows, taken in figures["seconds"].items()} == {
        rows: {"eager", "compiled", "worker's"} for rows in ("2", "8")
    }
    assert set(figures["chosen"]) == {"2", "8"}
    assert figures["apart"] == {"2": 0, "8": 0}
    assert {way: len(taken) for way, taken in figures["waits"].items()} == {
        "without": 2,
        "when it begins": 2,
        "while it goes on": 2,
    }
    assert compiled.report(figures, asdict(plan)).bars


def test_a_worker_that_keeps_the_slower_step_misses_its_bar() -> None:
    def told(workers: list[float]) -> Bar:
        seconds = {"8": {"eager": [1.0, 2.0], "compiled": [2.0, 4.0], "worker's": workers}}
        waits = {"without": [1.0], "when it begins": [1.0], "while it goes on": [1.0]}
        figures = {"seconds": seconds, "apart": {"8": 0.0}, "warming_up_s": 1.0, "waits": waits}
        return compiled.report(figures, {"calls": 1}).bars[0]

    assert told([1.0, 2.0]).holds
    assert not told([2.0, 4.0]).holds
