"""What to change when a learning went wrong: settings that a program can apply, and a sentence that says the same.

Each signature has settings that bring it about. Where those of a learning lie on the wrong side of what the base
usually uses, they go back to it, which is what was measured to hold; where none does, they are moved on from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cns.settings import LearningSettings

Signature = Literal["underfitting", "zero-shot damage", "bleeding", "forgetting"]

_HARM: dict[str, str] = {
    "reach": "nearer",
    "lr_weights": "down",
    "lr_token": "down",
    "steps": "down",
    "drift": "up",
    "selection.general_prompts": "up",
    "selection.general_vote": "down",
    "selection.fraction": "down",
}
_HARM_TO_OTHERS = {**_HARM, "interference": "up", "l1": "up", "l2": "up"}
WAYS: Mapping[Signature, Mapping[str, str]] = {
    "underfitting": {
        "reach": "back",
        "steps": "up",
        "lr_weights": "back",  # a rate that is far too high learns as little as one that is too low
        "lr_token": "back",
        "selection.fraction": "up",
        "selection.general_vote": "up",
        "drift": "down",
        "interference": "down",
        "l1": "down",
        "l2": "down",
    },
    "zero-shot damage": _HARM,
    "bleeding": _HARM_TO_OTHERS,
    "forgetting": _HARM_TO_OTHERS,
}
"""Signature -> setting -> which way from what was used to the usual value is worth going."""

_WORDS = {
    "steps": "{} steps",
    "lr_weights": "a learning rate of {} for the values",
    "lr_token": "a learning rate of {} for the token",
    "drift": "{} for holding general prompts (drift)",
    "interference": "{} for holding what earlier concepts changed (interference)",
    "l1": "{} for holding shared values (l1)",
    "l2": "{} for holding the base's values (l2)",
    "selection.general_prompts": "{} calibration prompts",
    "selection.general_vote": "a vote of {} among the calibration prompts",
    "selection.fraction": "a fraction of {}",
}


@dataclass(frozen=True)
class LearnedWith:
    """used: the settings of the learning that is judged. usual: those that its base brings."""

    used: LearningSettings
    usual: LearningSettings


@dataclass(frozen=True)
class Remedy:
    """changes: for `cns.settings.change_settings` of the settings used; empty when these are not known.

    words: "260 steps instead of 20 and a learning rate of 0.005 for the values instead of 0.05".
    """

    words: str
    changes: Mapping[str, Any] = field(default_factory=dict)


def find_remedy(signature: Signature, learned: LearnedWith | None) -> Remedy:
    """What to learn again with."""
    if learned is None:
        return Remedy(_IN_GENERAL[signature])
    used, usual = _flat(learned.used), _flat(learned.usual)
    wrong = {name: usual[name] for name, way in WAYS[signature].items() if _leads(way, used[name], usual[name])}
    changes = wrong or _move_on(signature, used)
    said = [_say(name, value, used[name]) for name, value in changes.items()]
    return Remedy(" and ".join(said if len(said) < 3 else [", ".join(said[:-1]), said[-1]]), _nested(changes))


_IN_GENERAL: Mapping[Signature, str] = {
    "underfitting": "twice as many steps",
    "zero-shot damage": "fewer steps, a lower learning rate, or a smaller fraction",
    "bleeding": "fewer steps, a lower learning rate, or stronger protection of earlier concepts (interference)",
    "forgetting": "fewer steps, a lower learning rate, or stronger protection of earlier concepts (interference)",
}


def _leads(way: str, used: Any, usual: Any) -> bool:
    if used == usual or way == "back":
        return bool(used != usual)
    if way == "nearer":
        return bool(usual == "token")
    return bool((way == "up") == (usual > used))


def _say(name: str, value: Any, used: Any) -> str:
    if name == "reach":
        return "values that apply " + {"token": "at the token alone", "everywhere": "everywhere"}[value]
    return f"{_WORDS[name].format(f'{value:g}')} instead of {used:g}"


def _move_on(signature: Signature, used: Mapping[str, Any]) -> dict[str, Any]:
    """Beyond the usual, where that has not sufficed."""
    if signature == "underfitting":
        return {"steps": 2 * used["steps"]}
    if used["reach"] == "everywhere":
        return {"reach": "token"}  # what applies nowhere else can harm nothing else
    guard = "drift" if signature == "zero-shot damage" else "interference"
    return {"lr_weights": used["lr_weights"] / 2, guard: max(2 * used[guard], 0.1)}


def _flat(settings: LearningSettings) -> dict[str, Any]:
    """Settings by name, those of the selection as "selection.fraction"."""
    own = settings.to_json()
    selection = own.pop("selection")
    return {**own, **{f"selection.{name}": value for name, value in selection.items()}}


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in changes.items() if "." not in name}
    selection = {name.partition(".")[2]: value for name, value in changes.items() if "." in name}
    return {**own, "selection": selection} if selection else own
