"""Which way a step is taken follows from what was measured of both, and from nothing else."""

import pytest

from worker.trial import PAYS, TRIES, Trial, Way


def tried(eager_s: float, compiled_s: float, agrees: bool = True) -> tuple[Trial, list[Way]]:
    """A trial to its end, and the ways that it took."""
    trial, taken = Trial(), []
    while trial.verdict is None:
        way = trial.choose()
        taken.append(way)
        if way is Way.BOTH:
            trial.compare(agrees)
        else:
            trial.note(way, eager_s if way is Way.EAGER else compiled_s)
    return trial, taken


def test_the_answers_are_compared_before_any_of_the_compiled_steps_is_used() -> None:
    _, taken = tried(1.0, 0.5)
    assert taken == [Way.BOTH, *[Way.EAGER, Way.COMPILED] * TRIES]


@pytest.mark.parametrize(
    ("compiled_s", "way"),
    [(0.5, Way.COMPILED), (PAYS, Way.COMPILED), (0.99, Way.EAGER), (1.0, Way.EAGER), (2.0, Way.EAGER)],
)
def test_a_compiled_step_is_used_only_where_it_was_measured_to_be_faster(compiled_s: float, way: Way) -> None:
    trial, _ = tried(1.0, compiled_s)
    assert trial.verdict is trial.choose() is way
    assert trial.share == compiled_s


def test_a_compiled_step_that_answers_otherwise_is_never_used_however_fast_it_is() -> None:
    trial, taken = tried(1.0, 0.1, agrees=False)
    assert taken == [Way.BOTH]
    assert trial.choose() is Way.EAGER


def test_a_slow_minute_does_not_decide() -> None:
    """The shortest of each way's steps counts."""
    trial = Trial(agrees=True)
    for eager_s, compiled_s in [(1.0, 9.0), (9.0, 0.6), (1.1, 0.7)]:
        trial.note(Way.EAGER, eager_s)
        trial.note(Way.COMPILED, compiled_s)
    assert trial.share == 0.6
    assert trial.verdict is Way.COMPILED
