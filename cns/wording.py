"""How a concept is spoken of. A thing is in a picture; a drawing or a style is how a whole picture is.

"A photo of a <rex> dog" shows the dog. "A photo of a <noir> drawing" shows nothing in particular: a manner is seen on
something, "a <noir> drawing of a house", and only so can it be told from what its pictures happen to show.
"""

from collections.abc import Mapping
from types import MappingProxyType

PHOTO = "a photo of a {}"
"""How a thing is asked for, alone or at the beginning of a longer prompt."""
SUBJECT = "a house"
"""What a manner is seen on where nobody says; every base has drawn houses."""

Frame = tuple[str, str]
"""What stands before and behind the subject of a picture in some manner; {} is where the manner goes."""
OF: Frame = ("a {} of ", "")
IN: Frame = ("a photo of ", " in a {}")

MANNERS: Mapping[str, Frame] = MappingProxyType(
    {
        **dict.fromkeys(
            "drawing painting sketch illustration artwork art picture image photo photograph photography portrait "
            "print poster watercolor watercolour engraving cartoon comic render rendering".split(),
            OF,
        ),
        **dict.fromkeys("style filter look mood lighting palette".split(), IN),
    }
)
"""Nouns of how a whole picture is, not of what stands somewhere in it, and how each is said of a subject."""


def find_frame(class_noun: str) -> Frame | None:
    """How a concept of that noun is said of a subject, by its last word: an ink drawing is a drawing. None: a thing."""
    words = class_noun.split()
    return MANNERS.get(words[-1].lower()) if words else None


def say_of(frame: Frame, words: str, subject: str) -> str:
    """The picture of `subject` in the manner called `words`: "a <noir> drawing of a house"."""
    before, behind = frame
    return f"{before.replace('{}', words)}{subject}{behind.replace('{}', words)}"


def speak(template: str, words: str, class_noun: str, subject: str = SUBJECT) -> str:
    """A prompt about a concept. template: a prompt about things, with {} in its place. words: "<rex> dog", or "dog".

    A manner is said of the subject instead, and the rest of the template stays: "a photo of a {} in the snow" becomes
    "a <noir> drawing of a house in the snow".
    """
    frame = find_frame(class_noun)
    if frame is None:
        return template.replace("{}", words)
    if PHOTO not in template:
        return template.replace("{}", f"{words} of {subject}")
    before, behind = template.split(PHOTO, 1)
    return f"{before}{say_of(frame, words, f'{subject}{behind}')}"
