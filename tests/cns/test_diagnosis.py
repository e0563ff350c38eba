"""Numbers become sentences: right on either side of each threshold, and with a remedy when one is needed."""

import pytest

from cns.diagnosis import (
    Finding,
    Thresholds,
    find_bleeding,
    find_forgetting,
    find_underfitting,
    find_zero_shot_damage,
)
from cns.remedies import LearnedWith
from cns.settings import LearningSettings


def test_a_concept_that_is_hardly_learned_is_told_with_what_to_change() -> None:
    learned = LearnedWith(LearningSettings(steps=150), LearningSettings(steps=150))
    finding = find_underfitting("rex", "dog", share=0.12, width=0.2, learned=learned, pictures=3)
    assert finding.severity == "bad"
    assert (finding.value, finding.threshold) == (0.12, 0.2)
    assert finding.sentence.startswith("<rex> is hardly recognisable")
    assert "12 % of the way from any dog to your pictures" in finding.sentence
    assert "300 steps instead of 150" in finding.remedy
    assert "More pictures (3 are few)" in finding.remedy
    assert finding.changes == {"steps": 300}


@pytest.mark.parametrize(("share", "severity"), [(0.19, "bad"), (0.21, "warn"), (0.39, "warn"), (0.41, "ok")])
def test_underfitting_is_found_below_its_thresholds(share: float, severity: str) -> None:
    finding = find_underfitting("rex", "dog", share, width=0.2)
    assert finding.severity == severity
    assert bool(finding.remedy) == (severity != "ok")


def test_a_judge_that_sees_no_difference_is_not_believed() -> None:
    finding = find_underfitting("rex", "dog", share=3.0, width=0.01)
    assert finding.severity == "warn"
    assert "hardly any difference" in finding.sentence
    assert "Look at the pictures yourself" in finding.remedy


@pytest.mark.parametrize(
    ("pictures", "alike", "words"),
    [(1, 1.0, "there is a single picture"), (3, 0.995, "your pictures are nearly one and the same")],
)
def test_of_one_picture_nobody_can_say_how_alike_another_should_be(pictures: int, alike: float, words: str) -> None:
    finding = find_underfitting("rex", "dog", share=0.1, width=0.3, alike=alike, pictures=pictures)
    assert (finding.severity, finding.value, finding.changes) == ("warn", alike, {})
    assert finding.sentence.startswith(f"Nobody can say by numbers how well <rex> was learned: {words}")
    assert "More of them" in finding.remedy


def test_pictures_that_are_alike_but_not_the_same_are_measured_as_ever() -> None:
    known, unknown = (find_underfitting("rex", "dog", 0.1, 0.3, alike=alike, pictures=3) for alike in (0.97, None))
    assert known == unknown
    assert known.severity == "bad"


@pytest.mark.parametrize(
    ("similarity", "alignment", "severity", "word"),
    [
        (0.99, 0.30, "ok", "as before"),
        (0.90, 0.30, "warn", "somewhat differently"),
        (0.80, 0.30, "bad", "very differently"),
        (0.99, 0.28, "warn", "somewhat less"),
        (0.99, 0.20, "bad", "much less"),
        (0.90, 0.20, "bad", "much less"),
        (0.80, 0.20, "bad", "very differently"),
    ],
)
def test_zero_shot_damage_is_drift_or_lost_alignment(
    similarity: float, alignment: float, severity: str, word: str
) -> None:
    finding = find_zero_shot_damage(similarity, alignment, 0.30)
    assert finding.severity == severity
    assert word in finding.sentence
    assert finding.concept is None
    assert bool(finding.remedy) == (severity != "ok")


def test_better_alignment_than_the_bases_is_no_damage() -> None:
    assert find_zero_shot_damage(0.99, 0.33, 0.30).severity == "ok"


@pytest.mark.parametrize(
    ("moved", "lost", "severity", "words"),
    [
        (0.0, 0.0, "ok", "<rex> has kept apart from <zigi>"),
        (0.2, 0.0, "warn", "<rex> has begun to turn into <zigi>"),
        (0.5, 0.1, "bad", "<rex> is turning into <zigi>"),
        (-0.3, 0.2, "warn", "Learning <zigi> has touched <rex>"),
        (0.1, 0.4, "bad", "Learning <zigi> has badly harmed <rex>"),
    ],
)
def test_bleeding_is_movement_or_sudden_loss(moved: float, lost: float, severity: str, words: str) -> None:
    finding = find_bleeding("rex", "zigi", moved, lost)
    assert (finding.severity, finding.value, finding.concept) == (severity, max(moved, lost), "rex")
    assert finding.sentence.startswith(words)


@pytest.mark.parametrize(("now", "severity"), [(0.85, "ok"), (0.7, "ok"), (0.6, "warn"), (0.3, "bad")])
def test_forgetting_is_measured_against_right_after_learning(now: float, severity: str) -> None:
    finding = find_forgetting("rex", now, right_after=0.8)
    assert finding.severity == severity
    assert finding.value == pytest.approx(0.8 - now)
    assert f"was 80 % of the way to your pictures when it was learned and is {100 * now:.0f} % now" in finding.sentence


def test_whoever_is_meant_is_named_by_the_token_in_sentences_and_remedies_alike() -> None:
    assert find_underfitting("zigi", "mug", share=3.0, width=0.01).sentence.startswith(
        "Nobody can say by numbers how well <zigi> was learned"
    )
    assert "the version before <zigi> and learn" in find_bleeding("rex", "zigi", 0.5, 0.1).remedy
    assert "in which <rex> was still right" in find_forgetting("rex", 0.3, 0.8).remedy


def test_thresholds_are_settings() -> None:
    strict = Thresholds(forgetting_warn=0.05)
    assert find_forgetting("rex", 0.7, 0.8, limits=strict).severity == "warn"


def test_a_finding_survives_json() -> None:
    finding = find_forgetting("rex", 0.3, 0.8)
    assert Finding.from_json(finding.to_json()) == finding
