"""What counts as damage: badly worse than before, by this learning."""

import pytest

from cns.damage import find_damage
from cns.diagnosis import (
    Finding,
    find_bleeding,
    find_forgetting,
    find_underfitting,
    find_zero_shot_damage,
)

HARMLESS = [
    find_underfitting("zigi", "mug", share=0.9, width=0.2),
    find_zero_shot_damage(0.99, 0.3, 0.3),
    find_bleeding("rex", "zigi", 0.0, 0.0),
    find_forgetting("rex", 0.8, 0.8),
]


def test_a_learning_that_left_everything_as_it_was_did_no_damage() -> None:
    assert find_damage(HARMLESS) == ()


@pytest.mark.parametrize(
    "finding",
    [find_zero_shot_damage(0.5, 0.3, 0.3), find_bleeding("rex", "zigi", 0.6, 0.0), find_forgetting("rex", 0.1, 0.8)],
    ids=lambda finding: finding.signature,
)
def test_whatever_was_right_before_and_is_badly_wrong_now_is_damage(finding: Finding) -> None:
    assert finding.severity == "bad"
    assert find_damage([*HARMLESS, finding]) == (finding,)


def test_a_concept_that_was_not_learned_has_harmed_nobody() -> None:
    assert find_damage([find_underfitting("zigi", "mug", share=0.0, width=0.2)]) == ()


def test_a_warning_is_no_damage() -> None:
    warned = find_forgetting("rex", 0.6, 0.8)
    assert warned.severity == "warn"
    assert find_damage([warned]) == ()


def test_what_the_version_below_had_forgotten_is_not_held_against_this_learning() -> None:
    forgotten = find_forgetting("rex", 0.30, 0.8)
    assert find_damage([find_forgetting("rex", 0.28, 0.8)], [forgotten]) == ()
    assert find_damage([find_forgetting("rex", 0.05, 0.8)], [forgotten]) != ()  # but it must not get worse
    assert find_damage([find_forgetting("tom", 0.30, 0.8)], [forgotten]) != ()  # and this is somebody else


def test_drift_that_was_there_before_is_not_held_against_this_learning() -> None:
    drifted = find_zero_shot_damage(0.60, 0.3, 0.3)
    assert find_damage([find_zero_shot_damage(0.59, 0.3, 0.3)], [drifted]) == ()
    assert find_damage([find_zero_shot_damage(0.70, 0.3, 0.3)], [drifted]) == ()
    assert find_damage([find_zero_shot_damage(0.40, 0.3, 0.3)], [drifted]) != ()
    lost = find_zero_shot_damage(0.99, 0.1, 0.3)
    assert find_damage([lost], [drifted]) == (lost,)  # another measure, which was right before


def test_bleeding_is_always_of_this_learning() -> None:
    bled = find_bleeding("rex", "tom", 0.6, 0.0)
    again = find_bleeding("rex", "zigi", 0.5, 0.0)
    assert find_damage([again], [bled]) == (again,)
