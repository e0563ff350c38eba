"""What the benchmark's page warns its readers of, from results alone."""

from typing import Any

import pytest

from benchmarks.continual.caveats import describe_caveats


def stage(seconds: float, compositions: Any = ()) -> dict[str, Any]:
    return {"learned": ["rex"], "cost": {"seconds": seconds}, "compositions": list(compositions)}


def search(grid: dict[str, list[float]], trials: int, generic: float = 1.0, **best: float) -> dict[str, Any]:
    figures = {"clip_generic": generic, "generic_text_loss": 0.0}
    return {"title": "Method 0", "grid": grid, "trials": [{}] * trials, "best": {"options": best, "figures": figures}}


def results(*finals: float, pairs: int = 4, seeds: int = 3) -> dict[str, Any]:
    """As many methods as `finals` by CLIP, which nobody had tuned, run twice each on a whole stream of one machine."""
    rows = [
        {
            "stream": "one",
            "method": f"m{place}",
            "title": f"Method {place}",
            "kind": "sequential",
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
        "orders": {"one": ["rex", "tom"]},
        "narrowest": 128,
        "rows": rows,
        "cells": [
            {
                "stream": "one",
                "method": row["method"],
                "title": row["title"],
                "options": {},
                "stages": [stage(3.0, compositions)],
            }
            for row in rows
        ],
    }


def tuned(told: dict[str, Any], searches: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of methods that run with what their searches found, and the file of these searches."""
    for cell in told["cells"]:
        cell["options"] = searches[cell["method"]]["best"]["options"]
    return told, {"setup": told["setup"], "methods": searches}


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


def test_a_reader_is_told_whose_best_rate_lies_at_an_end_of_what_was_tried() -> None:
    grid = {"lr_weights": [1e-4, 1e-3, 1e-2], "rank": [4, 8], "lr_token": [0.1, 0.2, 0.4]}
    at_end = search(grid, 6, lr_weights=1e-4, rank=4, lr_token=0.2)
    inside = search(grid, 6, lr_weights=1e-3, rank=4, lr_token=0.2)
    assert "Method 0 `lr_weights` 0.0001 (the smallest of 3)." in describe_caveats(*tuned(results(0.5), {"m0": at_end}))
    assert "Best at an end" not in describe_caveats(*tuned(results(0.5), {"m0": inside}))


def test_unequal_trials_are_told_and_who_had_no_more_to_try() -> None:
    small, large = search({"lr_token": [0.1, 0.2]}, 2, lr_token=0.1), search({"lr_token": [0.1] * 9}, 6, lr_token=0.1)
    text = describe_caveats(*tuned(results(0.5, 0.6), {"m0": small, "m1": large}))
    assert "Not all had as many trials: Method 0 2 (its whole grid), Method 1 6." in text


def test_a_reader_is_told_where_the_machine_did_other_things_meanwhile() -> None:
    told = results(0.5, 0.6)
    told["cells"][0]["stages"] = [stage(3.0, told["cells"][0]["stages"][0]["compositions"]) for _ in range(2)]
    assert "Seconds are the middle one" not in describe_caveats(told, None)
    told["cells"][0]["stages"][0]["cost"]["seconds"] = 30.0
    again = {**told["cells"][0], "stages": [stage(3.0), stage(24.0)]}
    told["cells"].append(again)
    assert "as another by the same method: Method 0 10.0." in describe_caveats(told, None)


def test_a_reader_is_told_how_many_directions_orthogonal_adapters_draw() -> None:
    told = results(0.5)
    assert "directions" not in describe_caveats(told, None)
    told["cells"][0] |= {"method": "orthogonal-adaptation", "options": {"rank": 16}}
    text = describe_caveats(told, None)
    assert "draws 16 directions of a layer's inputs for each concept, 32 for all 2" in text
    assert "the narrowest 128, so that there two concepts share 2.0 of them" in text


def test_a_reader_is_told_who_was_run_once_and_what_a_repetition_is() -> None:
    told = results(0.5, 0.6, 0.7)
    assert "Run once" not in describe_caveats(told, None)
    assert "Only the seed of learning differs" in describe_caveats(told, None)
    told["rows"][1] |= {"repetitions": 1}
    told["rows"][2] |= {"repetitions": 1, "kind": "bound"}
    assert "**Run once: Method 1.**" in describe_caveats(told, None), "where nothing is learned no seed decides"
    for row in told["rows"]:
        row["repetitions"] = 1
    text = describe_caveats(told, None)
    assert "**Run once: Every method.**" in text
    assert "Only the seed of learning differs" not in text


def test_a_reader_is_told_what_another_order_is_and_is_not() -> None:
    told = results(0.5)
    assert "another order" not in describe_caveats(told, None)
    told["orders"]["two"] = ["tom", "rex"]
    assert "Stream two has the same concepts in another order" in describe_caveats(told, None)


def test_a_reader_is_told_what_nobody_manages() -> None:
    told = results(0.5, 0.6)
    for row in told["rows"]:
        row["figures"]["triple_present"] = {"mean": 0.0, "spread": None}
    assert "No method ever shows three" in describe_caveats(told, None)
    told["rows"][1]["figures"]["triple_present"]["mean"] = 0.1
    assert "No method ever shows three" not in describe_caveats(told, None)
    assert "No method ever shows three" not in describe_caveats(results(0.5), None)


def test_a_reader_is_told_who_harms_generic_prompts_even_at_its_best() -> None:
    grid = {"lr_weights": [1e-4, 1e-3, 1e-2]}
    kind, harmful = (search(grid, 6, generic, lr_weights=1e-3) for generic in (0.96, 0.9))
    assert "Even as the best" not in describe_caveats(*tuned(results(0.5), {"m0": kind}))
    assert "beyond what tuning fines: Method 0." in describe_caveats(*tuned(results(0.5), {"m0": harmful}))


def test_a_reader_is_told_what_was_looked_at_on_the_concepts_of_the_stream_itself() -> None:
    text = describe_caveats(results(0.5), None)
    assert "on this stream's own pairs (docs/decisions/0024)" in text
    assert "What holds of things is therefore told apart." in text
