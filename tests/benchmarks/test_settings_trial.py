"""A trial of settings measures what it says and takes settings by their names."""

import pytest

from benchmarks.settings_trial import Learned, with_changes
from cns.own_settings import load_usual_settings
from cns.settings import LearningSettings
from storybook import MODEL_FOLDER


def test_the_way_is_a_share_between_the_class_noun_and_real_renders() -> None:
    learned = Learned(
        "zigi", noun=0.2, right_after=0.7, at_the_end=0.63, real=0.9, density=0.05, final_loss=0.1, seconds=30
    )
    assert learned.way == pytest.approx(5 / 7)
    assert learned.kept == pytest.approx(0.9)


def test_settings_are_changed_by_name() -> None:
    changed = with_changes(load_usual_settings(), ["steps=7", "flip=true", "selection.ranking=layer"])
    assert (changed.steps, changed.flip, changed.selection.ranking) == (7, True, "layer")
    assert changed.batch == LearningSettings().batch


def test_settings_are_those_of_the_reach_that_is_asked_for() -> None:
    usual = load_usual_settings(MODEL_FOLDER)
    assert with_changes(usual, ["reach=everywhere"]) == usual.by_reach["everywhere"] != usual.own


def test_an_unknown_setting_is_refused_by_its_name() -> None:
    with pytest.raises(SystemExit, match="no setting 'stesp'"):
        with_changes(load_usual_settings(), ["stesp=7"])
