"""Each learning happens once, and untouched is measured as untouched."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.subjects import ABILITIES, ability, individual
from cns.base_model import BaseModel
from cns.errors import DamagedDelta
from cns.settings import change_settings
from storybook.individuals import SAMPLES
from tests.benchmarks.experiment_workshop import GENERAL, build_workshop


@pytest.fixture
def workshop(sd1: BaseModel, tmp_path: Path) -> Workshop:
    return build_workshop(sd1, tmp_path)


def test_a_learning_that_was_done_is_read_and_not_done_again(workshop: Workshop) -> None:
    told: list[str] = []
    workshop.on_learning = told.append
    first = workshop.learn(individual("tiger"), workshop.settings)
    again = workshop.learn(individual("tiger"), workshop.settings)
    assert again.digest == first.digest
    assert told == ["learning <tiger> cat, 6 steps"]


def test_another_setting_subject_or_past_is_another_learning(workshop: Workshop) -> None:
    told: list[str] = []
    workshop.on_learning = told.append
    first = workshop.learn(individual("tiger"), workshop.settings)
    workshop.learn(individual("tiger"), replace(workshop.settings, lr_token=0.5))
    workshop.learn(individual("misty"), workshop.settings)
    workshop.learn(individual("misty"), workshop.settings, [first])
    assert len(told) == len(list(workshop.deltas.glob("*.safetensors"))) == 4


def test_calibration_prompts_that_are_not_read_make_no_other_learning(workshop: Workshop) -> None:
    unguarded = change_settings(workshop.settings, {"drift": 0.0, "interference": 0.0})
    told: list[str] = []
    workshop.on_learning = told.append
    for calibration in (GENERAL, GENERAL[:2]):
        workshop.learn(individual("tiger"), unguarded, calibration=calibration)
    assert len(told) == 1
    for calibration in (GENERAL, GENERAL[:2]):  # a guard of general prompts does read them all
        workshop.learn(individual("tiger"), workshop.settings, calibration=calibration)
    assert len(told) == 3


def test_a_kept_learning_that_was_damaged_is_refused(workshop: Workshop) -> None:
    workshop.learn(individual("tiger"), workshop.settings)
    (kept,) = workshop.deltas.glob("*.safetensors")
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(bytes(data))
    with pytest.raises(DamagedDelta):
        workshop.learn(individual("tiger"), workshop.settings)


def test_the_untouched_base_draws_general_prompts_as_itself(workshop: Workshop) -> None:
    general = workshop.look_at_general(workshop.version())
    assert general.similarity == pytest.approx(1)
    assert general.lost == pytest.approx(0)


def test_scores_tell_of_the_learning_and_of_everything_else(workshop: Workshop) -> None:
    tiger = individual("tiger")
    delta = workshop.learn(tiger, workshop.settings)
    scores = workshop.score(tiger, delta)
    assert scores["values"] == delta.size > 0
    assert scores["density"] == delta.report["density"]["concept"]
    assert scores["similarity"] < 1


def test_nobody_is_compared_with_the_pictures_it_was_taught_with() -> None:
    for subject in (individual("tiger"), *map(ability, ABILITIES)):
        taught = {picture.tobytes() for picture in subject.pictures}
        assert not taught & {picture.tobytes() for picture in subject.references}
        assert subject.name not in SAMPLES


@pytest.mark.parametrize("name", ABILITIES)
def test_an_ability_is_asked_for_by_its_own_word(name: str) -> None:
    subject = ability(name)
    assert all(subject.called in caption for caption in subject.captions)
    assert len(subject.captions) == len(subject.pictures)
    assert all("{}" in prompt and subject.noun not in prompt for prompt in subject.prompts)
    assert all(subject.noun in prompt and subject.name not in prompt for prompt in subject.plain)
