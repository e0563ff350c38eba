"""A remedy is settings that a program can apply, and words that say the same."""

from dataclasses import replace

import pytest

from cns.diagnosis import find_bleeding, find_forgetting, find_zero_shot_damage
from cns.remedies import LearnedWith, Signature, find_remedy
from cns.settings import LearningSettings, SelectionSettings, change_settings

USUAL = LearningSettings(steps=260, lr_weights=0.005, lr_token=0.05, drift=2.0, interference=0.4, l1=0.001, l2=0.0)
RECKLESS = replace(USUAL, lr_weights=0.05, drift=0.0, interference=0.0, selection=SelectionSettings(general_prompts=0))


def test_too_few_steps_become_the_usual_ones_not_merely_twice_as_many() -> None:
    remedy = find_remedy("underfitting", LearnedWith(replace(USUAL, steps=10), USUAL))
    assert remedy.changes == {"steps": 260}
    assert remedy.words == "260 steps instead of 10"


def test_where_everything_was_usual_it_goes_beyond() -> None:
    assert find_remedy("underfitting", LearnedWith(USUAL, USUAL)).changes == {"steps": 520}
    for signature in ("zero-shot damage", "bleeding", "forgetting"):
        harmless = find_remedy(signature, LearnedWith(USUAL, USUAL))  # type: ignore[arg-type]
        assert harmless.changes == {"reach": "token"}
        assert harmless.words == "values that apply at the token alone"


def test_where_values_apply_at_their_token_already_it_goes_more_gently() -> None:
    near = replace(USUAL, reach="token")
    gentler = find_remedy("zero-shot damage", LearnedWith(near, near))
    assert gentler.changes == {"lr_weights": 0.0025, "drift": 4.0}
    assert gentler.words == (
        "a learning rate of 0.0025 for the values instead of 0.005 "
        "and 4 for holding general prompts (drift) instead of 2"
    )
    assert find_remedy("forgetting", LearnedWith(near, near)).changes == {"lr_weights": 0.0025, "interference": 0.8}


def test_values_that_apply_everywhere_where_the_base_keeps_them_at_their_token_go_back_to_it() -> None:
    near = LearnedWith(USUAL, replace(USUAL, reach="token"))
    assert find_remedy("bleeding", near).changes == {"reach": "token"}
    assert find_remedy("underfitting", near).changes == {"reach": "token"}
    far = LearnedWith(replace(USUAL, reach="token"), USUAL)
    assert find_remedy("underfitting", far).words == "values that apply everywhere"
    assert "reach" not in find_remedy("zero-shot damage", far).changes


@pytest.mark.parametrize("signature", ["zero-shot damage", "bleeding", "forgetting"])
def test_what_was_reckless_goes_back_to_the_usual(signature: Signature) -> None:
    changes = find_remedy(signature, LearnedWith(RECKLESS, USUAL)).changes
    cured = change_settings(RECKLESS, changes)
    assert (cured.lr_weights, cured.drift, cured.selection) == (USUAL.lr_weights, USUAL.drift, USUAL.selection)
    assert cured.interference == (RECKLESS if signature == "zero-shot damage" else USUAL).interference


def test_what_was_more_careful_than_usual_is_left_as_it_is() -> None:
    careful = replace(USUAL, drift=9.0, lr_weights=0.001, steps=500)
    assert find_remedy("zero-shot damage", LearnedWith(careful, USUAL)).changes == {"steps": 260}


def test_a_rate_on_either_side_of_the_usual_leaves_a_concept_unlearned() -> None:
    for rate in (0.05, 0.0001):
        learned = LearnedWith(replace(USUAL, lr_weights=rate), USUAL)
        assert find_remedy("underfitting", learned).changes == {"lr_weights": 0.005}


@pytest.mark.parametrize("signature", ["underfitting", "zero-shot damage", "bleeding", "forgetting"])
def test_the_words_name_every_change_with_both_values(signature: Signature) -> None:
    learned = LearnedWith(replace(RECKLESS, steps=30), USUAL)
    remedy = find_remedy(signature, learned)
    flat = {**remedy.changes, **remedy.changes.get("selection", {})}
    flat.pop("selection", None)
    assert remedy.words.count(" instead of ") == len(flat) > 0
    for value in flat.values():
        assert f"{value:g}" in remedy.words


def test_without_the_settings_there_are_words_and_nothing_to_apply() -> None:
    remedy = find_remedy("bleeding", None)
    assert "interference" in remedy.words
    assert remedy.changes == {}


def test_a_finding_carries_both() -> None:
    learned = LearnedWith(RECKLESS, USUAL)
    for finding in (
        find_zero_shot_damage(0.5, 0.3, 0.3, learned=learned),
        find_bleeding("rex", "zigi", 0.6, 0.0, learned=learned),
        find_forgetting("rex", 0.1, 0.8, learned=learned),
    ):
        assert find_remedy(finding.signature, learned).words in finding.remedy
        assert finding.changes["lr_weights"] == USUAL.lr_weights
    assert find_forgetting("rex", 0.8, 0.8, learned=learned).changes == {}
