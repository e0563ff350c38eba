"""What performance is told from: results that know what they were made by, and a page that is made from them alone."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks.bars import at_most
from benchmarks.bases import SHAPES, base_of
from benchmarks.performance.__main__ import ROOT, change_plan, run
from benchmarks.performance.page import told_of, write_page
from benchmarks.performance.record import describe_run, is_there, place_of, read_results, write_result
from benchmarks.performance.registry import BENCHMARKS, ELSEWHERE
from benchmarks.serving import limit, mixed
from benchmarks.timing import alternate, medians, quantile, times_as_long
from cns.base_model import BaseModel
from tests import tiny

QUICK = limit.Plan(limits=(1,), calls=1, rounds=1)


def test_every_way_gets_its_turn_in_every_round_and_none_is_always_first() -> None:
    order: list[str] = []
    ways = {name: lambda name=name: order.append(name) for name in "abc"}
    taken = alternate(ways, 3, torch.device("cpu"))
    assert order == [*"abc", *"bca", *"cab"]
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3, "c": 3}


def test_medians_and_quantiles_are_values_that_were_measured() -> None:
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}
    assert [quantile([4.0, 1.0, 3.0, 2.0], share) for share in (0, 0.5, 0.95, 1)] == [1, 2, 4, 4]


def test_ways_are_compared_round_by_round() -> None:
    taken = {"slow": [2.0, 20.0, 30.0], "fast": [1.0, 10.0, 10.0]}
    assert times_as_long(taken, "slow", "fast") == 2
    with pytest.raises(ValueError, match="argument 2"):
        times_as_long({"slow": [1.0], "fast": [1.0, 2.0]}, "slow", "fast")


def test_a_result_is_there_for_the_run_that_made_it_and_for_no_other(sd1: BaseModel, tmp_path: Path) -> None:
    place = place_of(tmp_path, "distance-to-limit", "storybook", "cpu")
    run("distance-to-limit", "storybook", sd1, QUICK, tmp_path, again=False)
    kept = place.read_bytes()
    assert is_there(place, describe_run("distance-to-limit", "storybook", sd1, QUICK))
    assert not is_there(place, describe_run("distance-to-limit", "storybook", sd1, limit.Plan()))
    run("distance-to-limit", "storybook", sd1, QUICK, tmp_path, again=False)
    assert place.read_bytes() == kept


def test_results_of_other_bases_and_devices_have_places_of_their_own(tmp_path: Path) -> None:
    places = {
        place_of(tmp_path, "growth", base, device) for base in ("storybook", "sd15-shape") for device in ("cpu", "cuda")
    }
    assert {place.name for place in places} == {
        *("growth.json", "growth-cuda.json", "growth-sd15-shape.json", "growth-sd15-shape-cuda.json")
    }


def test_the_page_is_made_from_the_results_alone(sd1: BaseModel, tmp_path: Path) -> None:
    run("distance-to-limit", "storybook", sd1, QUICK, tmp_path, again=True)
    plan = mixed.Plan(tenants=2, limits=(1,), steps=1, rounds=1)
    ways = ["many versions, at most 1", "one version, at most 1", mixed.ANEW, *mixed.PEERS]
    figures = {"device": "cpu", "side_px": 16, "seconds": {name: [1.0] for name in ways}}
    about = describe_run("mixed-tenants", "sd15-shape", sd1, plan)
    told = mixed.report(figures, json.loads(json.dumps(asdict(plan))))
    write_result(place_of(tmp_path, "mixed-tenants", "sd15-shape", "cpu"), about, figures, told)
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    write_page(tmp_path, page)
    first = page.read_text(encoding="utf-8")
    assert "## Mixed tenants (sd15-shape)" in first
    assert "## Distance to the limit\n" in first
    assert "one round alone, so provisional" in first
    assert "1 of 6 bars hold" in first
    write_page(tmp_path, page)
    assert page.read_text(encoding="utf-8") == first


def test_the_results_of_another_program_are_told_by_their_bars(tmp_path: Path) -> None:
    bar = asdict(at_most("seconds", 2.0, 1.0))
    told = told_of({"name": "somebody-elses", "says": ["It was slow."], "bars": [bar]})
    assert told.sentences == ("It was slow.",)
    assert not told.bars[0].holds


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_what_another_program_of_ours_kept_stands_on_the_page_with_its_table(name: str, tmp_path: Path) -> None:
    (content,) = read_results(ROOT / "benchmarks" / "results", name)
    (table,) = told_of(content).tables
    assert ELSEWHERE[name].table(content) == table
    (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    write_page(tmp_path, tmp_path / "page.md")
    assert f"\n{table}" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_a_plan_is_changed_by_name_and_what_it_has_not_is_left() -> None:
    plan = change_plan(mixed.Plan(), ["rounds=2", "limits=[1, 2]", "concepts=7"])
    assert (plan.rounds, plan.limits) == (2, (1, 2))
    assert plan.tenants == mixed.Plan().tenants


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_committed_bars_are_those_that_the_committed_figures_give(name: str) -> None:
    for content in read_results(ROOT / "benchmarks" / "results", name):
        assert [asdict(bar) for bar in told_of(content).bars] == content["bars"]


def test_a_pipelines_parts_make_the_base_that_its_folder_makes(sdxl: BaseModel, sdxl_folder: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(
        sdxl_folder, dtype=torch.float32, low_cpu_mem_usage=False, add_watermarker=False
    )
    base = base_of(pipeline, "cpu", torch.float32)
    assert (base.id, base.kind, base.native_px) == (sdxl.id, "sdxl", tiny.PICTURE_PX)


@pytest.mark.parametrize(("name", "entries"), [("sd15-shape", 19_169_280), ("sdxl-shape", 340_787_200)])
def test_a_shape_has_the_public_architectures_size(name: str, entries: int) -> None:
    with torch.device("meta"):
        pipeline = SHAPES[name]()
    layers = [m for n, m in pipeline.unet.named_modules() if n.endswith(("attn2.to_k", "attn2.to_v"))]
    assert sum(layer.weight.numel() for layer in layers) == entries
    assert {"sd15-shape": 860, "sdxl-shape": 2567}[name] == round(pipeline.unet.num_parameters() / 1e6)
