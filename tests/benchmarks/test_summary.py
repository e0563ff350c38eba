"""Rows and bars are what the cells' figures amount to."""

import math
from dataclasses import asdict
from typing import Any

import pytest

from benchmarks.bars import Bar
from benchmarks.continual.page import describe_bars
from benchmarks.continual.summary import check_bars, differences_by_seed, measure_cell, summarise


def seen(share: float, similarity: float, confused: float | None = None) -> dict[str, Any]:
    judged = {"similarity": similarity, "share": share, "noun": 0.0, "real": 1.0}
    twin = {} if confused is None else {"confused": confused}
    return {"clip": {**judged, **twin}, "individuals": {**judged, **twin}, "text": 0.3, "clip_score": 75.0}


def stage(
    learned: list[str], concepts: dict[str, Any], *, generic: float = 1.0, present: float = 0.0
) -> dict[str, Any]:
    pairs = [{"names": ["a", "b"], "present": present, "share": 0.5, "clip_i": 0.6, "clip_score": 70.0}]
    cost = {"trained_parameters": 100, "stored_bytes": 200, "seconds": 3.0, "fuse_seconds": 1.0, "fuse_bytes": 10}
    return {
        "learned": learned,
        "cost": cost,
        "peak_extra_bytes": 1000 * len(concepts),
        "judging_seconds": 1.0,
        "concepts": concepts,
        "generic": {
            "clip_similarity": generic,
            "individuals_similarity": generic,
            "text": 0.27,
            "base_text": 0.3,
            "clip_score": 70,
        },
        "compositions": pairs if len(concepts) > 1 else [],
    }


def cell(method: str, kept: float, *, kind: str = "sequential", seed: int = 0, **last: float) -> dict[str, Any]:
    """Two concepts: "a" is learned with a similarity of 0.8 and ends with `kept` of it."""
    stages = [
        stage(["a"], {"a": seen(0.8, 0.8)}),
        stage(["b"], {"a": seen(0.8 * kept, 0.8 * kept, confused=0.25), "b": seen(0.6, 0.6)}, **last),
    ]
    facts = {"method": method, "title": method, "kind": kind, "family": method, "stream": "one", "seed": seed}
    return {**facts, "stages": stages}


def test_forgetting_is_the_share_of_the_likeness_that_was_lost() -> None:
    figures = measure_cell(cell("cns+", kept=0.75))
    assert figures["individuals_forgetting"] == pytest.approx(0.25)
    assert figures["individuals_forgetting_way"] == pytest.approx(0.25)
    assert figures["individuals_transfer"] == pytest.approx(-0.2)
    assert figures["individuals_right_after"] == pytest.approx(0.7)
    assert figures["individuals_final"] == pytest.approx(0.6)
    assert figures["individuals_confused"] == pytest.approx(0.25)
    assert figures["generic_text_loss"] == pytest.approx(0.1)
    assert (figures["clip_i_single"], figures["clip_i_multi"]) == (pytest.approx(60), pytest.approx(60))


def test_costs_are_of_a_concept() -> None:
    figures = measure_cell(cell("cns+", kept=1.0))
    assert (figures["parameters"], figures["seconds"], figures["fuse_bytes"]) == (100, 3.0, 10)
    assert figures["peak_extra_bytes"] == 2000
    whole = cell("joint", kept=1.0, kind="joint")
    whole["stages"] = [{**whole["stages"][1], "learned": ["a", "b"]}]
    assert measure_cell(whole)["seconds"] == pytest.approx(1.5)
    growing = cell("fused", kept=1.0, kind="fused")
    growing["stages"][1]["cost"] = {**growing["stages"][1]["cost"], "fuse_bytes": 30, "fuse_seconds": 4.0}
    figures = measure_cell(growing)
    assert (figures["fuse_bytes"], figures["fuse_seconds"]) == (30, 4.0), "the last fusing is of all concepts"


def test_a_pause_of_the_machine_does_not_make_a_method_slow() -> None:
    paused = cell("cns+", kept=1.0)
    paused["stages"] = [{**paused["stages"][0], "cost": {**paused["stages"][0]["cost"], "seconds": 1000.0}}] + [
        paused["stages"][1]
    ] * 2
    assert measure_cell(paused)["seconds"] == 3.0


def test_what_is_learned_of_things_is_told_apart_from_styles_and_places() -> None:
    """The encoder of individuals hardly sees a style: a lead that is all in a style is none in things."""
    ours, other = cell("cns+", kept=0.5), cell("custom", kept=1.0)
    ours["stages"][1]["concepts"]["b"] = seen(1.2, 0.9)
    assert measure_cell(ours)["individuals_final"] == pytest.approx(0.8)
    assert measure_cell(ours, {"a"})["individuals_final_things"] == pytest.approx(0.4)
    assert "individuals_final_things" not in measure_cell(ours, {"a", "b"})
    bars = {bar.name: bar for bar in check_bars(summarise([ours, other], {"a"}), "cns+", "one")}
    assert bars["image alignment at the end, better than every other's, individuals"].holds
    of_things = bars["the same of things, without styles and places, individuals"]
    assert (of_things.holds, of_things.against) == (False, "custom")
    assert of_things.value == pytest.approx(-0.4)


def test_a_joint_method_forgets_nothing_because_nothing_came_before() -> None:
    whole = cell("joint", kept=1.0, kind="joint")
    whole["stages"] = [{**whole["stages"][1], "learned": ["a", "b"]}]
    figures = measure_cell(whole)
    assert "individuals_forgetting" not in figures
    assert "individuals_right_after" not in figures


def test_a_row_has_the_mean_of_its_repetitions_and_how_far_they_lie_apart() -> None:
    (row,) = summarise([cell("cns+", kept=0.9), cell("cns+", kept=0.7, seed=1)])
    assert row.repetitions == 2
    assert row.figures["clip_forgetting"].mean == pytest.approx(0.2)
    assert row.figures["clip_forgetting"].spread == pytest.approx(math.sqrt(0.02))
    (alone,) = summarise([cell("cns+", kept=0.9)])
    assert alone.figures["clip_forgetting"].spread is None


def bars_of(*cells: dict[str, Any]) -> dict[str, Bar]:
    return {bar.name: bar for bar in check_bars(summarise(cells), "cns+", "one")}


def test_bars_hold_where_the_default_reaches_them() -> None:
    bars = bars_of(
        cell("cns+", kept=0.995, generic=0.97, present=0.8), cell("custom", kept=0.5, generic=0.8, present=0.4)
    )
    held = {name for name, bar in bars.items() if bar.holds}
    level = "two concepts in a picture, nearer to both than every other's"
    assert bars.keys() - held == {"generic prompts, loss of text alignment", level}
    assert bars["two concepts in a picture, more often than every other's"].value == pytest.approx(0.4)
    assert bars["two concepts in a picture, more often than every other's"].against == "custom"


def test_bars_do_not_hold_where_another_is_ahead() -> None:
    bars = bars_of(cell("cns+", kept=0.9, generic=0.9), cell("textual-inversion", kept=1.0, generic=1.0))
    assert not bars["forgetting, of the cosine, clip"].holds
    assert not bars["generic prompts, CLIP similarity to the base's pictures"].holds
    assert not bars["forgetting, less than every other's, clip"].holds
    assert bars["image alignment at the end, better than every other's, clip"].value == pytest.approx(-0.04)


def test_joint_methods_and_bounds_are_no_rivals() -> None:
    others = [cell("custom-joint", kept=1.0, kind="joint"), cell("base", kept=1.0, kind="bound"), cell("cns", kept=0.5)]
    bars = bars_of(cell("cns+", kept=0.9), *others)
    assert bars["image alignment at the end, better than every other's, clip"].against == "cns"


def results_of(*cells: dict[str, Any]) -> dict[str, Any]:
    rows = summarise(cells)
    bars = check_bars(rows, "cns+", "one")
    return {
        "stream": "one",
        "default": "cns+",
        "rows": [{"method": row.method, "title": row.title, "kind": row.kind, "stream": row.stream} for row in rows],
        "bars": [asdict(bar) for bar in bars],
        "by_seed": differences_by_seed(bars, rows, "cns+", "one"),
    }


def test_a_lead_is_told_seed_by_seed_where_both_were_run_with_it() -> None:
    ours = [cell("cns+", kept=kept, seed=seed) for seed, kept in enumerate((0.9, 0.9, 0.9))]
    theirs = [cell("custom", kept=kept, seed=seed) for seed, kept in enumerate((0.4, 0.95))]
    told = results_of(*ours, *theirs)
    name = "image alignment at the end, better than every other's, clip"
    assert told["by_seed"][name] == [pytest.approx(0.2), pytest.approx(-0.02)]
    said = describe_bars(told)
    assert "end, better than every other's, clip: +0.2000, -0.0200; not the same side with every seed" in said
    alone = describe_bars(results_of(ours[0], theirs[0]))
    assert "With one seed alone: 7 of the comparisons." in alone


def test_a_figure_that_some_runs_lack_says_how_many_it_is_of() -> None:
    blank = cell("cns+", kept=1.0, seed=1)
    blank["stages"][0]["concepts"]["a"] = seen(-0.1, 0.7)
    (row,) = summarise([cell("cns+", kept=1.0), blank])
    assert (row.repetitions, row.figures["clip_final"].runs, row.figures["clip_forgetting_way"].runs) == (2, 2, 1)
    assert row.figures["clip_forgetting_way"].to_json()["runs"] == 1


def test_the_page_says_who_was_compared_and_who_is_level() -> None:
    cells = [
        cell("cns+", kept=1.0, present=0.5),
        cell("custom", kept=0.5, present=0.5),
        cell("base", 1.0, kind="bound"),
    ]
    said = describe_bars(results_of(*cells))
    assert "were run on this stream: custom." in said
    assert "- Two concepts in a picture, more often than every other's: custom is level." in said


def test_without_the_default_there_are_no_bars() -> None:
    assert check_bars(summarise([cell("custom", kept=0.5)]), "cns+", "one") == []


def test_what_the_cosine_hides_the_share_of_the_way_shows() -> None:
    """Class nouns already have most of the cosine, so little of it can be lost or missing."""
    ours = cell("cns+", kept=1.0)
    ours["stages"][1]["concepts"]["a"] = seen(0.4, 0.795)
    bars = bars_of(ours, cell("custom", kept=1.0))
    assert bars["forgetting, of the cosine, clip"].holds
    assert bars["forgetting, of the way, clip"].value == pytest.approx(0.5)
    assert not bars["forgetting, of the way, clip"].holds
    assert bars["right after learning, share of Custom Diffusion's way, clip"].value == pytest.approx(1.0)


def test_nothing_is_said_of_forgetting_what_was_never_learned() -> None:
    blank = cell("cns+", kept=1.0)
    blank["stages"][0]["concepts"]["a"] = seen(-0.1, 0.7)
    assert "clip_forgetting_way" not in measure_cell(blank)
