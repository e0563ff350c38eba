"""Every method is tuned by as many trials, from its own grid, the same ones every time."""

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.continual.method import Method
from benchmarks.continual.tuning import best_trial, next_trial, score_trial, sensitivity, sweep_trials


def method(**space: tuple[float, ...]) -> Method:
    def start(*_: object) -> object:
        raise NotImplementedError

    options = {name: values[0] for name, values in space.items()}
    return Method("m", "m", "m", "sequential", start, options, space)  # type: ignore[arg-type]


WIDE = method(rate=(1.0, 2.0, 4.0), l1=(0.0, 0.1), l2=(0.0, 0.1))


def trial(score: float, **options: float) -> dict[str, Any]:
    return {"score": score, "options": {**WIDE.options, **options}}


def search(method: Method, count: int, seed: int = 0, tried: Sequence[dict[str, Any]] = ()) -> list[dict[str, float]]:
    """The options of a whole search in which nothing is better than the first."""
    trials = list(tried)
    while options := next_trial(method, count, trials, seed):
        trials.append({"score": -len(trials), "options": options})
    return [one["options"] for one in trials]


def test_a_search_begins_with_the_defaults_and_does_not_repeat_itself() -> None:
    trials = search(WIDE, 9)
    assert trials[0] == WIDE.options
    assert len({tuple(trial.items()) for trial in trials}) == 9
    assert trials == search(WIDE, 9)
    assert trials != search(WIDE, 9, seed=1)


def test_a_small_grid_is_tried_whole_and_no_more() -> None:
    assert len(search(method(rate=(1.0, 2.0)), 8)) == 2


def test_a_search_made_longer_keeps_what_was_tried_though_the_defaults_have_moved() -> None:
    tried = [trial(0.1, rate=3.0), trial(0.2, rate=4.0, l1=0.1, l2=0.1)]
    trials = search(WIDE, 12, tried=tried)
    assert trials[:2] == [one["options"] for one in tried]
    assert len({tuple(trial.items()) for trial in trials}) == 12
    assert next_trial(WIDE, 2, tried) is None


def test_a_grid_that_has_moved_is_not_drawn_from_in_the_same_order_again() -> None:
    values = tuple(map(float, range(1, 9)))
    before, after = method(token=values, weights=values), method(token=tuple(2 * one for one in values), weights=values)
    first = search(before, 6)
    longer = search(after, 12, tried=[{"score": 0.0, "options": options} for options in first])
    drawn = [options["weights"] for options in longer[6:8]]
    assert drawn != [options["weights"] for options in first[1:3]]


def test_a_grid_too_large_to_list_is_drawn_from() -> None:
    large = method(**{f"o{place}": tuple(map(float, range(10))) for place in range(8)})
    assert len(search(large, 5)) == 5


def test_the_last_third_of_a_search_goes_from_the_best_to_its_neighbours_one_option_at_a_time() -> None:
    steep = method(l1=(0.0, 0.1), lr_weights=(1.0, 2.0, 4.0, 8.0), rank=(4.0, 8.0))
    best = {"l1": 0.0, "lr_weights": 2.0, "rank": 4.0}
    tried = [
        {"score": 0.1, "options": {"l1": 0.0, "lr_weights": 4.0, "rank": 8.0}},
        {"score": 0.9, "options": best},
        {"score": 0.2, "options": {"l1": 0.1, "lr_weights": 8.0, "rank": 4.0}},
        {"score": 0.3, "options": {"l1": 0.1, "lr_weights": 4.0, "rank": 4.0}},
    ]
    rate_first = next_trial(steep, 6, tried)
    assert rate_first == {**best, "lr_weights": 1.0}, "the neighbour that was tried less"
    tried.append({"score": 0.95, "options": rate_first})
    assert next_trial(steep, 6, tried) == {**rate_first, "l1": 0.1}, "from what is best now, and another option"


def test_where_the_best_has_no_neighbour_left_a_search_goes_on_drawing() -> None:
    narrow = method(lr_weights=(1.0, 2.0, 4.0))
    tried = [{"score": score, "options": {"lr_weights": rate}} for score, rate in ((0.9, 1.0), (0.1, 2.0))]
    assert next_trial(narrow, 3, tried) == {"lr_weights": 4.0}


def test_a_sweep_changes_one_option_at_a_time() -> None:
    trials = sweep_trials(WIDE)
    assert len(trials) == 1 + 2 + 1 + 1
    assert all(sum(trial[name] != WIDE.options[name] for name in trial) <= 1 for trial in trials)


def figures(aligned: float, generic: float = 1.0, lost: float = 0.0) -> dict[str, float]:
    return {"clip_final": aligned, "individuals_final": aligned, "clip_generic": generic, "generic_text_loss": lost}


def test_alignment_counts_less_where_generic_prompts_suffer() -> None:
    assert score_trial(figures(0.7)) == pytest.approx(0.7)
    assert score_trial(figures(0.7, generic=0.95, lost=0.01)) == pytest.approx(0.7)
    assert score_trial(figures(0.7, generic=0.93)) == pytest.approx(0.6)
    assert score_trial(figures(0.7, lost=0.03)) == pytest.approx(0.6)


def test_the_best_trial_and_what_each_option_does() -> None:
    trials = [trial(0.5), trial(0.9, rate=2.0), trial(0.4, l1=0.1), trial(0.1, rate=4.0, l1=0.1)]
    assert best_trial(trials)["options"]["rate"] == 2.0
    everything = sensitivity(trials, list(WIDE.options))
    assert list(everything) == ["rate", "l1"]
    assert everything["rate"]["range"] == pytest.approx(0.8)
    assert [one["trials"] for one in everything["rate"]["means"]] == [2, 1, 1]


def test_of_a_sweep_only_the_neighbours_of_the_defaults_count() -> None:
    trials = [trial(0.5), trial(0.9, rate=2.0), trial(0.4, l1=0.1)]
    report = sensitivity(trials, list(WIDE.options), WIDE.options)
    assert report["l1"]["range"] == pytest.approx(0.1)
    assert report["rate"]["range"] == pytest.approx(0.4)
