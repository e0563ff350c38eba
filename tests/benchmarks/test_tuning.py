"""Every method is tuned by as many trials, from its own grid, the same ones every time."""

import pytest

from benchmarks.continual.method import Method
from benchmarks.continual.tuning import best_trial, draw_trials, score_trial, sensitivity, sweep_trials


def method(**space: tuple[float, ...]) -> Method:
    def start(*_: object) -> object:
        raise NotImplementedError

    options = {name: values[0] for name, values in space.items()}
    return Method("m", "m", "m", "sequential", start, options, space)  # type: ignore[arg-type]


WIDE = method(rate=(1.0, 2.0, 4.0), l1=(0.0, 0.1), l2=(0.0, 0.1))


def test_trials_begin_with_the_defaults_and_do_not_repeat() -> None:
    trials = draw_trials(WIDE, 8)
    assert trials[0] == WIDE.options
    assert len({tuple(trial.items()) for trial in trials}) == 8
    assert trials == draw_trials(WIDE, 8)
    assert trials != draw_trials(WIDE, 8, seed=1)


def test_a_small_grid_is_tried_whole_and_no_more() -> None:
    assert len(draw_trials(method(rate=(1.0, 2.0)), 8)) == 2


def test_a_search_made_longer_keeps_what_was_tried_though_the_defaults_have_moved() -> None:
    tried = [{"rate": 3.0, "l1": 0.0, "l2": 0.0}, {"rate": 4.0, "l1": 0.1, "l2": 0.1}]
    trials = draw_trials(WIDE, 12, tried=tried)
    assert trials[:2] == tried
    assert len({tuple(trial.items()) for trial in trials}) == 12
    assert draw_trials(WIDE, 1, tried=tried) == tried


def test_a_grid_too_large_to_list_is_drawn_from() -> None:
    large = method(**{f"o{place}": tuple(map(float, range(10))) for place in range(8)})
    assert len(draw_trials(large, 5)) == 5


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


def trial(score: float, **options: float) -> dict[str, object]:
    return {"score": score, "options": {**WIDE.options, **options}}


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
