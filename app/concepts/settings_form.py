"""The settings of a learning as a page shows them: in words, with what is taken when a field stays empty."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.errors import Invalid
from app.forms import Typed
from app.learning_settings import LearningChanges


@dataclass(frozen=True)
class SettingField:
    """name: as in `LearningChanges`, with a dot for what is nested. kind: whole, decimal, yes or choice.

    choices: of a choice, value -> what stands for it.
    """

    name: str
    label: str
    kind: str
    hint: str
    choices: Mapping[str, str] = field(default_factory=dict)

    def default(self, defaults: Mapping[str, Any]) -> Any:
        """What is taken when nothing is typed; None where that is not known."""
        found: Any = defaults
        for part in self.name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found


FIELDS = (
    SettingField("steps", "Steps", "whole", "More learn more closely, and take longer. Too many cost variety."),
    SettingField("seed", "Seed", "whole", "The same seed, pictures and settings give the same version, byte for byte."),
    SettingField("batch", "Rows in a step", "whole", "More are calmer and need more memory."),
    SettingField("lr_weights", "Rate of the neurons", "decimal", "How far one step moves the selected values."),
    SettingField("lr_token", "Rate of the word", "decimal", "How far one step moves the concept's own word."),
    SettingField("token_first", "Word first", "decimal", "Share of the steps in which the word learns by itself."),
    SettingField(
        "reach",
        "Where neurons apply",
        "choice",
        "At its word alone nothing else can change. Everywhere is as published, with usual rates of its own.",
        {"token": "at its word alone", "everywhere": "everywhere"},
    ),
    SettingField(
        "wide_guided",
        "Guidance of a style",
        "decimal",
        "Share of the noise, from the most on, in which a picture of a style or a place is guided. At 1 it overshoots.",
    ),
    SettingField("drift", "Hold on general pictures", "decimal", "More keeps prompts without a concept as they were."),
    SettingField("interference", "Hold on earlier concepts", "decimal", "More keeps their pictures as they were."),
    SettingField("l1", "Hold on shared neurons", "decimal", "More keeps values that an earlier concept owns."),
    SettingField("l2", "Hold on the base", "decimal", "More stays nearer to the untouched model."),
    SettingField(
        "selection.fraction", "Share of neurons", "decimal", "How many entries count as a prompt's own, from 0 to 1."
    ),
    SettingField("crops", "Pieces of each picture", "whole", "Squares cut out of it, learned beside it. 0 for none."),
    SettingField("flip", "Learn mirrored pictures too", "yes", "Not for what has a left and a right, such as letters."),
)


def read_settings_form(form: Typed) -> dict[str, Any]:
    """What was typed and differs from nothing. Invalid with its field for what cannot be used."""
    given: dict[str, Any] = {}
    for asked in FIELDS:
        value: Any
        if asked.kind == "yes":
            value = True if form.ticked(asked.name) else None
        elif asked.kind == "choice":
            value = form.text(asked.name) or None
        elif asked.kind == "whole":
            value = form.whole(asked.name, asked.label)
        else:
            value = form.decimal(asked.name, asked.label)
        if value is None:
            continue
        outer, _, inner = asked.name.rpartition(".")
        if outer:
            given.setdefault(outer, {})[inner] = value
        else:
            given[inner] = value
    try:
        return LearningChanges.model_validate(given).given()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        label = next((asked.label for asked in FIELDS if asked.name == name), name)
        said = first["msg"].replace("Input should be", "must be")
        raise Invalid(f"{label}: {said}.", field=name) from None
