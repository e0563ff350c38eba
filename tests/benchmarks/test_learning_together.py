"""The measurement of learning together: both ways take the same steps, and what is told comes from the figures."""

import json
from typing import Any

import pytest

from benchmarks.learning_together import RESULTS, Plan, bars_of, markdown, measure, sentences_of, speed_up
from cns.base_model import BaseModel
from cns.learning import LearningRun
from cns.settings import LearningSettings, SelectionSettings

QUICK = LearningSettings(batch=2, mixed_precision=False, selection=SelectionSettings(general_prompts=2))
PROMPTS = ("a red robot", "a blue house at night")


def cell(count: int, alone: float, together: float, is_own: bool = True) -> dict[str, Any]:
    return {
        "batch": 16,
        "is_own": is_own,
        "count": count,
        "seconds": {"one after another": [alone, 9.0, alone], "together": [together, 0.1, together]},
        "peak_bytes": {"one after another": 2_000_000, "together": None},
        "gradients": {"same": False, "apart": 5e-7},
    }


def test_both_ways_take_as_many_steps_and_the_gradients_are_those_of_each_alone(
    sd1: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, said = list[float](), list[str]()
    original = LearningRun.move

    def move(run: LearningRun, *given: Any) -> float:
        moved.append(original(run, *given))
        return moved[-1]

    monkeypatch.setattr(LearningRun, "move", move)
    plan = Plan(counts=(1, 2), batches=(3, 0), steps=1, rounds=2)
    figures = measure(sd1, QUICK, PROMPTS, plan, said.append)
    assert [(one["batch"], one["is_own"], one["count"]) for one in figures["cells"]] == [
        *((3, False, 1), (3, False, 2)),
        *((2, True, 1), (2, True, 2)),
    ]
    assert len(moved) == 2 * (1 + 2) * 2 * (2 + plan.steps * plan.rounds)  # batches, learnings, ways, steps of each
    assert all(one["gradients"]["apart"] < 1e-4 for one in figures["cells"])
    assert figures["cells"][0]["gradients"]["same"]
    assert len(said) == 4


def test_a_round_counts_against_the_same_round_of_the_other_way() -> None:
    assert speed_up(cell(2, alone=3.0, together=2.0)) == 1.5


def test_bars_are_about_several_learnings_at_the_batch_that_the_base_asks_for() -> None:
    bars = bars_of(
        {"cells": [cell(1, 1.0, 1.0), cell(2, 3.0, 2.0), cell(4, 2.0, 3.0), cell(2, 3.0, 2.0, is_own=False)]}
    )
    assert [(bar.value, bar.holds) for bar in bars] == [(1.5, True), (0.6667, False)]


def test_the_table_has_a_line_for_each_cell() -> None:
    plan = {"steps": 2, "rounds": 3}
    text = markdown({"plan": plan, "figures": {"cells": [cell(2, 8.0, 4.0)]}})
    assert text.splitlines()[-1] == "| 16 | 2 | 2.000 | 1.000 | 2.000 | 2 | not told | 5.0e-07 |"


def test_the_results_that_are_kept_say_what_their_figures_come_to() -> None:
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert kept["bars"] == [vars(bar) for bar in bars_of(kept["figures"])]
    assert kept["says"] == sentences_of(kept)
