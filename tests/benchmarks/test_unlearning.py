"""The measurement of forgetting says what it has found: bars from figures, and a page from bars."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.unlearning.bars import bars_of, best_option, way_left, worst_of_others
from benchmarks.unlearning.lines import Experiment, make_lines
from benchmarks.unlearning.measure import Measure, measure_base, measure_line
from benchmarks.unlearning.memory import Memory
from benchmarks.unlearning.page import write_page
from cns.base_model import BaseModel
from cns.captions import TemplateCaptioner
from cns.judge import load_judge
from cns.learning import LearningRun
from cns.settings import LearningSettings, SelectionSettings
from storybook.individuals import find_individual

QUICK = LearningSettings(steps=2, batch=2, selection=SelectionSettings(general_prompts=4))


def way(first: float, last: float, noun: float, stolen: float, generic: float = 0.97) -> dict[str, Any]:
    concepts = {"coral": first, "misty": last}
    return {"concepts": concepts, "noun": noun, "stolen": stolen, "generic": generic, "seconds": 1.0, "bytes": 9}


@pytest.fixture
def figures() -> dict[str, Any]:
    before = way(0.80, 0.70, 0.31, 0.75)
    before["concepts"] = {"coral": 0.80, "jade": 0.75, "misty": 0.70}
    return {
        "nouns": {"coral": "fish", "jade": "cat", "misty": "cat"},
        "forgotten": "jade",
        "settings": {"steps": 2},
        "pictures": 12,
        "generic_pictures": 16,
        "returned": 60,
        "shared": 40,
        "base": {"noun": {"coral": 0.2, "jade": 0.30, "misty": 0.3}, "real": {"coral": 0.9, "jade": 0.9, "misty": 0.9}},
        "ways": {
            "before": before,
            "kept": way(0.80, 0.70, 0.30, 0.62),
            "blended": way(0.80, 0.68, 0.30, 0.61),
            "rebased": way(0.80, 0.60, 0.35, 0.60, generic=0.9),
            "exact": way(0.84, 0.71, 0.30, 0.60),
        },
    }


def test_the_worst_of_the_others_counts_and_the_forgotten_one_does_not(figures: dict[str, Any]) -> None:
    ways = figures["ways"]
    assert worst_of_others(ways["before"], ways["blended"], "jade") == pytest.approx(0.68 / 0.70)


def test_what_is_left_is_a_share_of_the_way_from_the_class_noun(figures: dict[str, Any]) -> None:
    assert way_left(figures, "rebased") == pytest.approx((0.35 - 0.30) / (0.75 - 0.30))
    assert way_left(figures, "kept") == 0


def test_each_way_is_held_against_each_bar(figures: dict[str, Any]) -> None:
    bars = bars_of(figures, "everywhere")
    assert len(bars) == 4 * 4 - 1  # the line that never knew it is not held against itself
    failed = {bar["name"].partition(":")[0] for bar in bars if not bar["holds"]}
    assert failed == {"everywhere, kept", "everywhere, blended", "everywhere, rebased"}
    kept = [bar["holds"] for bar in bars if bar["name"].startswith("everywhere, kept")]
    assert kept == [True, False, True, True]
    assert [bar["holds"] for bar in bars if bar["name"].startswith("everywhere, exact")] == [True] * 3


def test_the_best_fast_way_is_the_one_that_costs_the_others_least(figures: dict[str, Any]) -> None:
    assert best_option(figures) == "kept"
    figures["ways"]["rebased"] = way(0.80, 0.70, 0.30, 0.60)
    assert best_option(figures) == "rebased"


def test_the_page_has_every_way_and_every_bar(figures: dict[str, Any]) -> None:
    near = {**figures, "shared": 0, "ways": {way: figures["ways"][way] for way in ("before", "kept", "exact")}}
    reaches = {"token": near, "everywhere": figures}
    bars = [bar for reach, some in reaches.items() for bar in bars_of(some, reach)]
    machine, versions = {"cores": 2}, {"torch": "2"}
    page = write_page({"reaches": reaches, "bars": bars, "machine": machine, "versions": versions}, "kept")
    before, everywhere = page.split("## Values everywhere")
    assert (before.count("\n| fast, "), everywhere.count("\n| fast, ")) == (1, 3)
    assert "one fast way" in before
    assert "costs the others least here is **kept**" in everywhere
    assert "| exact, learned again | 0.840 | 0.710 | 1.014 | 0.300 | 0.600 | 0.970 | 1.0 |" in page
    assert page.count("holds |") + page.count("**fails** |") == len(bars)


def test_every_way_is_made_and_measured_and_nothing_twice(
    sd1: BaseModel, judged_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    individuals = tuple(find_individual(name) for name in ("coral", "jade", "misty"))
    experiment = Experiment(sd1, judged_folder, TemplateCaptioner(), QUICK, individuals, "jade")
    said: list[str] = []
    lines = make_lines(experiment, Memory(tmp_path), said.append)
    assert [line.way for line in lines] == ["before", "kept", "blended", "rebased", "exact"]
    assert [[delta.concept for delta in line.deltas] for line in lines[1:]] == [["coral", "misty"]] * 4
    assert said[-1] == "learning misty again"
    monkeypatch.setattr(LearningRun, "step", None)  # whatever would learn again fails
    again = make_lines(experiment, Memory(tmp_path), said.append)
    assert [line.deltas[-1].digest for line in again] == [line.deltas[-1].digest for line in lines]

    clip = load_judge(judged_folder / "clip")
    measure = Measure(clip, clip, seeds=1, generic=1, steps=1)
    base = measure_base(experiment, measure)
    found = measure_line(experiment, measure, lines[4], lines[0], base["generic"])
    assert set(found["concepts"]) == {"coral", "misty"}
    assert all(-1 <= found[name] <= 1 for name in ("noun", "stolen", "generic"))


def test_where_nothing_is_shared_there_is_one_fast_way(sd1: BaseModel, judged_folder: Path, tmp_path: Path) -> None:
    individuals = tuple(find_individual(name) for name in ("coral", "jade", "misty"))
    near = replace(QUICK, reach="token")
    experiment = Experiment(sd1, judged_folder, TemplateCaptioner(), near, individuals, "jade")
    lines = make_lines(experiment, Memory(tmp_path), lambda line: None)
    assert [line.way for line in lines] == ["before", "kept", "exact"]
    fast, exact = lines[1].deltas[-1], lines[2].deltas[-1]
    assert all(torch.equal(values, exact.values[layer]) for layer, values in fast.values.items())


def test_lines_and_figures_of_another_experiment_are_not_taken_for_this_one(
    sd1: BaseModel, judged_folder: Path
) -> None:
    individuals = tuple(find_individual(name) for name in ("coral", "jade", "misty"))
    experiment = Experiment(sd1, judged_folder, TemplateCaptioner(), QUICK, individuals, "jade")
    repainted = (replace(individuals[0], look=individuals[1].look), *individuals[1:])
    others = [
        replace(experiment, individuals=repainted),
        replace(experiment, captioner=TemplateCaptioner("a picture of a {noun}")),
    ]
    assert len({one.key for one in (experiment, *others)}) == 3
    clip = load_judge(judged_folder / "clip")
    measure = Measure(clip, clip, seeds=1, generic=1, steps=1)
    assert measure.key(judged_folder) != replace(measure, steps=2).key(judged_folder)
