"""What the benchmark's page warns its readers of, from results alone."""

from typing import Any

import pytest

from benchmarks.continual.caveats import describe_caveats


def results(*finals: float, pairs: int = 4, seeds: int = 3) -> dict[str, Any]:
    """As many methods as `finals` by CLIP, which nobody had tuned, run twice each on a whole stream of one machine."""
    rows = [
        {
            "stream": "one",
            "method": f"m{place}",
            "title": f"Method {place}",
            "repetitions": 2,
            "figures": {"clip_final": {"mean": final, "spread": 0.0}},
        }
        for place, final in enumerate(finals)
    ]
    compositions = [{"names": ["rex", "tom"]}] * pairs + [{"names": ["rex", "tom", "mia"]}]
    return {
        "stream": "one",
        "concepts": ["rex", "tom"],
        "whole": 2,
        "not_run": [],
        "machines": [{}],
        "setup": {"asking": {"composition_seeds": seeds}},
        "rows": rows,
        "cells": [
            {"method": row["method"], "title": row["title"], "options": {}, "stages": [{"compositions": compositions}]}
            for row in rows
        ],
    }


@pytest.mark.parametrize(("pairs", "seeds", "said"), [(4, 3, "12 pictures a run"), (8, 3, "24 pictures a run")])
def test_a_reader_is_told_what_one_picture_of_two_concepts_weighs(pairs: int, seeds: int, said: str) -> None:
    text = describe_caveats(results(0.5, pairs=pairs, seeds=seeds), None)
    assert said in text
    assert f"one more or less is {1 / (pairs * seeds):.3f}" in text


def test_a_stream_without_two_concepts_in_a_picture_says_nothing_of_them() -> None:
    assert "Two together" not in describe_caveats(results(0.5, pairs=0), None)


def test_a_reader_is_told_who_is_liked_more_than_real_pictures_are() -> None:
    text = describe_caveats(results(0.995, 1.02, 1.0, 1.001), None)
    assert "Above 1 by clip, at the end: Method 1, Method 3." in text


def test_nothing_is_said_of_a_judge_whom_nobody_pleases_more_than_real_pictures() -> None:
    assert "Above 1" not in describe_caveats(results(0.9, 1.0), None)
