"""A base brings the settings that hold on it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cns.denoise import GenerationRequest
from cns.diagnosis import Thresholds
from cns.own_settings import (
    GENERATION_SETTINGS,
    LEARNING_SETTINGS,
    THRESHOLDS,
    GenerationSettings,
    load_generation_settings,
    load_learning_settings,
    load_thresholds,
    load_usual_settings,
)
from cns.settings import LearningSettings, UnknownSetting, change_settings
from storybook import MODEL_FOLDER
from storybook.pipeline import GUIDANCE


def _write(folder: Path, text: str, name: str = LEARNING_SETTINGS) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_base_without_settings_of_its_own_has_the_defaults(tmp_path: Path) -> None:
    assert load_learning_settings(tmp_path) == load_learning_settings(None) == LearningSettings()
    assert load_learning_settings("somebody/some-model") == LearningSettings()


def test_what_the_base_says_goes_before_the_defaults(tmp_path: Path) -> None:
    own = load_learning_settings(_write(tmp_path, json.dumps({"steps": 7, "selection": {"fraction": 0.4}})))
    defaults = LearningSettings()
    assert own == replace(defaults, steps=7, selection=replace(defaults.selection, fraction=0.4))


def test_the_storybook_brings_its_own() -> None:
    assert load_learning_settings(MODEL_FOLDER) != LearningSettings()


def test_a_base_may_be_learned_on_otherwise_where_values_reach_further(tmp_path: Path) -> None:
    own = {"lr_weights": 0.01, "drift": 8.0, "reach": "token", "everywhere": {"lr_weights": 0.001}}
    usual = load_usual_settings(_write(tmp_path, json.dumps(own)))
    assert (usual.own.reach, usual.own.lr_weights) == ("token", 0.01)
    far = usual.with_changes({"reach": "everywhere", "steps": 7})
    assert (far.reach, far.lr_weights, far.drift, far.steps) == ("everywhere", 0.001, 8.0, 7)
    assert usual.with_changes({"reach": "everywhere", "lr_weights": 0.5}).lr_weights == 0.5
    assert usual.with_changes({"steps": 7}) == usual.with_changes({"reach": "token", "steps": 7})
    with pytest.raises(UnknownSetting, match="Values reach everywhere or token"):
        usual.with_changes({"reach": "far"})


def test_a_base_that_says_nothing_of_reach_has_the_same_settings_for_each(tmp_path: Path) -> None:
    usual = load_usual_settings(_write(tmp_path, '{"steps": 7}'))
    assert usual.own == replace(LearningSettings(), steps=7)
    assert usual.by_reach["token"] == replace(usual.own, reach="token")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"stesp": 7}',
        '{"selection": {"vote": 1}}',
        '{"selection": 1}',
        '{"token": 1}',
        '{"everywhere": {"stesp": 7}}',
        '{"reach": 3}',
        '{"steps": 0}',
    ],
)
def test_settings_that_cannot_be_used_are_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownSetting, match=r"learning_settings\.json of the base model"):
        load_learning_settings(_write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"selection": {"ranking": "rows"}}', "ranking is row, layer or global, not 'rows'"),
        ('{"selection": {"norm_tokens": "Own"}}', "norm_tokens is own or all, not 'Own'"),
        ('{"selection": {"base_prompts": "frist"}}', "base_prompts is all or first, not 'frist'"),
        ('{"selection": {"general_prompts": 2.5}}', "general_prompts is a whole number, not 2.5"),
        ('{"selection": {"fraction": "0.3"}}', "fraction is a number, not '0.3'"),
        ('{"steps": 10.5}', "steps is a whole number, not 10.5"),
        ('{"steps": true}', "steps is a whole number, not True"),
        ('{"batch": 2.5}', "batch is a whole number, not 2.5"),
        ('{"flip": "false"}', "flip is true or false, not 'false'"),
        ('{"mixed_precision": 0}', "mixed_precision is true or false, not 0"),
        ('{"resolution_px": -4}', "at least one pixel, not of -4"),
        ('{"resolution_px": 64.5}', "resolution_px is a whole number or null, not 64.5"),
        ('{"lr_weights": NaN}', "lr_weights is a number, not nan"),
        ('{"lr_token": Infinity}', "lr_token is a number, not inf"),
        ('{"lr_token": null}', "lr_token is a number, not None"),
        ('{"min_snr_gamma": -1}', "min-SNR lies above 0, not at -1"),
        ('{"everywhere": {"min_snr_gamma": "5"}}', "min_snr_gamma is a number or null, not '5'"),
    ],
)
def test_a_value_of_the_wrong_kind_changes_the_method_nowhere_silently(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UnknownSetting, match=re.escape(said)):
        load_learning_settings(_write(tmp_path, text))


def test_a_whole_number_is_a_number_and_stays_as_it_was_written(tmp_path: Path) -> None:
    own = load_learning_settings(
        _write(tmp_path, '{"lr_token": 1, "drift": 8, "min_snr_gamma": 5, "resolution_px": 64}')
    )
    assert json.dumps([own.lr_token, own.drift, own.min_snr_gamma, own.resolution_px]) == "[1, 8, 5, 64]"
    assert change_settings(LearningSettings(), own.to_json()) == own


def test_pictures_are_made_as_the_base_says_else_as_a_plain_request(tmp_path: Path) -> None:
    plain = load_generation_settings(tmp_path)
    request = GenerationRequest("a mug")
    assert (plain.steps, plain.guidance, plain.sampler) == (request.steps, request.guidance, request.sampler)
    own = load_generation_settings(_write(tmp_path, '{"guidance": 2.5, "sampler": "unipc"}', GENERATION_SETTINGS))
    assert own == GenerationSettings(guidance=2.5, sampler="unipc")


def test_the_storybook_is_guided_as_its_card_measures_it() -> None:
    assert load_generation_settings(MODEL_FOLDER).guidance == GUIDANCE


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", '{"guidanse": 7}', '{"guidance": -1}', '{"steps": 0}', '{"sampler": "x"}'),
        *('{"guidance": NaN}', '{"guidance": Infinity}', '{"steps": 10.5}', '{"sampler": ["ddim"]}'),
    ],
)
def test_generation_settings_that_cannot_be_used_are_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownSetting, match=r"generation_settings\.json of the base model"):
        load_generation_settings(_write(tmp_path, text, GENERATION_SETTINGS))


def test_thresholds_are_the_bases_own_else_the_defaults(tmp_path: Path) -> None:
    assert load_thresholds(tmp_path) == load_thresholds(None) == Thresholds()
    assert load_thresholds(_write(tmp_path, '{"bleeding_bad": 0.5}', THRESHOLDS)) == Thresholds(bleeding_bad=0.5)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", '{"bleeding": 1}', '{"bleeding_bad": 0.01}', '{"similarity_bad": "x"}'),
        *('{"bleeding_warn": NaN}', '{"least_width": "x"}'),
    ],
)
def test_thresholds_that_cannot_be_used_are_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownSetting, match=r"diagnosis_thresholds\.json of the base model"):
        load_thresholds(_write(tmp_path, text, THRESHOLDS))
