"""The learning settings that a base model brings in its own folder: what was measured to hold on it."""

import json
from pathlib import Path

from cns.settings import LearningSettings, UnknownSetting, change_settings

LEARNING_SETTINGS = "learning_settings.json"


def load_learning_settings(
    base_folder: str | Path | None = None, defaults: LearningSettings | None = None
) -> LearningSettings:
    """`defaults`, else the method's, with what `learning_settings.json` in the base's folder says instead.

    Raises UnknownSetting with a sentence that names the file when it is not an object of existing settings.
    """
    defaults = defaults or LearningSettings()
    path = None if base_folder is None else Path(base_folder) / LEARNING_SETTINGS
    if path is None or not path.is_file():
        return defaults
    try:
        changes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnknownSetting(f"{path.name} of the base model is not JSON.") from error
    if not isinstance(changes, dict) or not isinstance(changes.get("selection", {}), dict):
        raise UnknownSetting(f"{path.name} of the base model is not an object of settings.")
    try:
        return change_settings(defaults, changes)
    except UnknownSetting as error:
        raise UnknownSetting(f"{path.name} of the base model: {error}") from error
