"""The settings that a base model brings in its own folder: what was measured to hold on it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from cns.denoise import GenerationRequest
from cns.diagnosis import Thresholds
from cns.samplers import MOST_STEPS, SAMPLERS
from cns.settings import LearningSettings, Reach, UnknownSetting, change_settings, check_kinds

LEARNING_SETTINGS = "learning_settings.json"
GENERATION_SETTINGS = "generation_settings.json"
THRESHOLDS = "diagnosis_thresholds.json"


@dataclass(frozen=True)
class GenerationSettings:
    """How pictures are made where nobody says otherwise; as in `cns.denoise.GenerationRequest`."""

    steps: int = GenerationRequest.steps
    guidance: float = GenerationRequest.guidance
    sampler: str = GenerationRequest.sampler

    def __post_init__(self) -> None:
        check_kinds(self)
        if not 1 <= self.steps <= MOST_STEPS or self.guidance < 0:
            raise ValueError(f"A picture takes 1 to {MOST_STEPS} steps, and guidance is not below 0.")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"There is no sampler {self.sampler!r}; there are {', '.join(SAMPLERS)}.")


@dataclass(frozen=True)
class UsualSettings:
    """What is learned with on a base where nobody says otherwise.

    Rates that are right for values at one token are far too high for values that every prompt meets, so each reach has
    settings of its own. own: those of the reach that the base usually has. by_reach: each reach's.
    """

    own: LearningSettings
    by_reach: Mapping[Reach, LearningSettings]

    def changed(self, changes: Mapping[str, Any]) -> "UsualSettings":
        """The same changes to what is usual for each reach."""
        by_reach = {reach: change_settings(settings, changes) for reach, settings in self.by_reach.items()}
        return UsualSettings(by_reach[self.own.reach], MappingProxyType(by_reach))

    def with_changes(self, changes: Mapping[str, Any]) -> LearningSettings:
        """`changes`, as for `cns.settings.change_settings`, to what is usual for the reach they ask for, if any."""
        usual = self.by_reach.get(changes.get("reach", self.own.reach), self.own)  # a strange reach is refused below
        return change_settings(usual, changes)


def load_usual_settings(
    base_folder: str | Path | None = None, defaults: LearningSettings | None = None
) -> UsualSettings:
    """`defaults`, else the method's, with what `learning_settings.json` in the base's folder says instead.

    Under the name of a reach the file may have an object of what is different where values reach so far. Raises
    UnknownSetting with a sentence that names the file when it is not an object of existing settings.
    """
    changes = dict(_read(base_folder, LEARNING_SETTINGS))
    of_reach = {reach: changes.pop(reach, {}) for reach in get_args(Reach)}
    own = _changed(defaults or LearningSettings(), changes)
    by_reach = {reach: replace(_changed(own, special), reach=reach) for reach, special in of_reach.items()}
    return UsualSettings(by_reach[own.reach], MappingProxyType(by_reach))


def load_learning_settings(
    base_folder: str | Path | None = None, defaults: LearningSettings | None = None
) -> LearningSettings:
    """What `load_usual_settings` finds for the reach that values usually have on the base. Raises as it does."""
    return load_usual_settings(base_folder, defaults).own


def _changed(settings: LearningSettings, changes: Any) -> LearningSettings:
    if not isinstance(changes, dict) or not isinstance(changes.get("selection", {}), dict):
        raise UnknownSetting(f"{LEARNING_SETTINGS} of the base model: something in it is not an object of settings.")
    try:
        return change_settings(settings, changes)
    except UnknownSetting as error:
        raise UnknownSetting(f"{LEARNING_SETTINGS} of the base model: {error}") from error


def load_generation_settings(base_folder: str | Path | None = None) -> GenerationSettings:
    """The defaults, with what `generation_settings.json` in the base's folder says instead. Raises UnknownSetting."""
    changes = _read(base_folder, GENERATION_SETTINGS)
    strange = changes.keys() - {field.name for field in fields(GenerationSettings)}
    if strange:
        raise UnknownSetting(f"{GENERATION_SETTINGS} of the base model: there is no setting {min(strange)!r}.")
    try:
        return GenerationSettings(**changes)
    except (ValueError, TypeError) as error:
        raise UnknownSetting(f"{GENERATION_SETTINGS} of the base model cannot be used: {error}") from error


def load_thresholds(base_folder: str | Path | None = None) -> Thresholds:
    """The defaults, with what `diagnosis_thresholds.json` in the base's folder says instead. Raises UnknownSetting.

    Where a finding begins depends on what the base draws and on who judges it: a base brings what was measured on it.
    """
    changes = _read(base_folder, THRESHOLDS)
    strange = changes.keys() - {field.name for field in fields(Thresholds)}
    if strange:
        raise UnknownSetting(f"{THRESHOLDS} of the base model: there is no threshold {min(strange)!r}.")
    try:
        return Thresholds(**changes)
    except (ValueError, TypeError) as error:
        raise UnknownSetting(f"{THRESHOLDS} of the base model cannot be used: {error}") from error


def _read(base_folder: str | Path | None, name: str) -> Mapping[str, Any]:
    path = None if base_folder is None else Path(base_folder) / name
    if path is None or not path.is_file():
        return {}
    try:
        changes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnknownSetting(f"{name} of the base model is not JSON.") from error
    if not isinstance(changes, dict):
        raise UnknownSetting(f"{name} of the base model is not an object of settings.")
    return changes
