"""Pages speak of a concept as the worker of its base says that one does."""

import pytest

from app.wording import around_words, prompt_about
from cns.wording import MANNERS, PHOTO, find_frame, speak

FACTS = {"manners": {noun: list(frame) for noun, frame in MANNERS.items()}}


@pytest.mark.parametrize("noun", ["dog", "drawing", "ink Drawing", "style", "drawing board"])
def test_pages_and_the_library_speak_alike(noun: str) -> None:
    assert prompt_about("x", noun, FACTS) == speak(PHOTO, f"<x> {noun}", noun)
    before, behind = around_words(noun, FACTS)
    if find_frame(noun) is not None:
        assert f"{before}<x> {noun}{behind}" == speak(PHOTO, f"<x> {noun}", noun)
    else:
        assert (before, behind) == ("a photo of a ", " on the beach")


def test_where_no_worker_has_said_how_everything_is_a_thing() -> None:
    assert prompt_about("noir", "drawing", {}) == "a photo of a <noir> drawing"
    assert around_words("", FACTS) == ("a photo of a ", " on the beach")
