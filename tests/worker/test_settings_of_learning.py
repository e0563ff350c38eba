"""The service's words for the settings of a learning are the method's own."""

from dataclasses import fields

import pytest
from pydantic import ValidationError

from app.learning_settings import LearningChanges, SelectionChanges
from cns.settings import LearningSettings, SelectionSettings, UnknownSetting, change_settings


def test_the_service_knows_the_settings_of_the_method_and_no_others() -> None:
    assert list(LearningChanges.model_fields) == [field.name for field in fields(LearningSettings)]
    assert list(SelectionChanges.model_fields) == [field.name for field in fields(SelectionSettings)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"l1": -1},
        {"drift": -1},
        {"cooldown": 1.5},
        {"time_power": 0},
        {"time_power": 11},
        {"crops": -1},
    ],
)
def test_what_the_method_refuses_the_service_has_refused_before(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        LearningChanges.model_validate(wrong)
    with pytest.raises(UnknownSetting):
        change_settings(LearningSettings(), wrong)


def test_what_the_service_takes_the_method_takes() -> None:
    given = {"steps": 200, "time_power": 0.7, "selection": {"general_vote": 0.85, "base_prompts": "first"}}
    changed = change_settings(LearningSettings(), LearningChanges.model_validate(given).given())
    assert (changed.steps, changed.time_power, changed.selection.general_vote) == (200, 0.7, 0.85)
