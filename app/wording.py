"""How a concept is spoken of: a thing is in a picture; a drawing or a style is how a whole picture is.

Which nouns are such manners, a worker says of its base in `facts["manners"]`: noun -> what stands before and behind the
subject of a picture, with {} where the manner goes: {"drawing": ["a {} of ", ""]}. Facts of before say nothing of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PHOTO = "a photo of a {}"
SUBJECT = "a house"  # what a manner is shown on

Frame = Sequence[str]


def find_frame(class_noun: str, facts: Mapping[str, Any]) -> Frame | None:
    """Before and behind the subject, where the noun's last word is a manner; None for a thing."""
    words = class_noun.lower().split()
    manners: Mapping[str, Frame] = facts.get("manners", {})
    return manners.get(words[-1]) if words else None


def say_of(frame: Frame, words: str, subject: str) -> str:
    """The subject in the manner called `words`."""
    before, behind = frame
    return f"{before.replace('{}', words)}{subject}{behind.replace('{}', words)}"


def prompt_about(name: str, class_noun: str, facts: Mapping[str, Any]) -> str:
    """The plainest prompt that shows a concept: "a photo of a <rex> dog", "a <noir> drawing of a house"."""
    words = f"<{name}> {class_noun}"
    frame = find_frame(class_noun, facts)
    return PHOTO.replace("{}", words) if frame is None else say_of(frame, words, SUBJECT)


def around_words(class_noun: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    """What stands before and behind "<rex> dog" in a prompt that shows how to use it."""
    frame = find_frame(class_noun, facts)
    if frame is None:
        return PHOTO.removesuffix("{}"), " on the beach"
    before, _, behind = say_of(frame, "\0", SUBJECT).partition("\0")
    return before, behind
