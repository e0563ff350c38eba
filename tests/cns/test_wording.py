"""A thing is asked for as it is; of how a picture is made one can only speak with something in it."""

import pytest

from cns.examination import requests_about
from cns.examination_record import ExaminationSettings
from cns.wording import IN, MANNERS, OF, PHOTO, find_frame, speak


@pytest.mark.parametrize(
    ("noun", "frame"),
    [("drawing", OF), ("ink Drawing", OF), ("style", IN), ("dog", None), ("drawing board", None), ("  ", None)],
)
def test_the_last_word_says_whether_a_noun_is_a_manner(noun: str, frame: object) -> None:
    assert find_frame(noun) == frame


@pytest.mark.parametrize(
    ("template", "noun", "said"),
    [
        (PHOTO, "dog", "a photo of a <x> dog"),
        (PHOTO, "drawing", "a <x> drawing of a house"),
        (PHOTO, "style", "a photo of a house in a <x> style"),
        ("a photo of a {} in the snow", "dog", "a photo of a <x> dog in the snow"),
        ("a photo of a {} in the snow", "drawing", "a <x> drawing of a house in the snow"),
        ("a photo of a {} in the snow", "style", "a photo of a house in the snow in a <x> style"),
        ("one {} at night", "dog", "one <x> dog at night"),
        ("one {} at night", "drawing", "one <x> drawing of a house at night"),
    ],
)
def test_a_manner_is_seen_on_a_subject_and_the_rest_of_the_prompt_stays(template: str, noun: str, said: str) -> None:
    assert speak(template, f"<x> {noun}", noun) == said


def test_every_manner_leaves_one_place_for_itself() -> None:
    assert all((before + behind).count("{}") == 1 for before, behind in MANNERS.values())


def test_a_manner_is_examined_on_several_subjects_and_a_thing_on_none() -> None:
    settings = ExaminationSettings()
    of_manner = [request.prompt for request in requests_about("drawing", settings, "<x>")]
    assert of_manner == [
        "a <x> drawing of a house",
        "a <x> drawing of a cat on the grass",
        "a <x> drawing of a car in the snow",
    ]
    of_thing = [request.prompt for request in requests_about("dog", settings, "<x>")]
    assert of_thing == [template.replace("{}", "<x> dog") for template in settings.templates]
