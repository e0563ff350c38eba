"""Captions say what words can say, and leave one place for what they cannot."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from cns.captions import (
    BlipCaptioner,
    Captioner,
    CaptionError,
    RetrievalCaptioner,
    TemplateCaptioner,
    subject_of,
    with_token,
    without_noun,
)
from cns.judge import load_judge
from cns.phrases import EmptyList, load_generic_prompts, load_phrase_bank, load_subject_bank, read_phrases
from tests import tiny_clip


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a photo of a dog", "a photo of a <rex> dog"),
        ("A Dog on the grass", "A <rex> dog on the grass"),
        ("a dog next to a dog", "a <rex> dog next to a dog"),
        ("a doghouse and a hotdog", "a photo of a <rex> dog, a doghouse and a hotdog"),
        ("something in the snow", "a photo of a <rex> dog, something in the snow"),
        ("  ", "a photo of a <rex> dog"),
        ("two dogs and a <rex> dog", "two dogs and a <rex> dog"),
    ],
)
def test_the_token_takes_the_place_of_the_first_noun(caption: str, expected: str) -> None:
    assert with_token(caption, "dog", "<rex>") == expected


@pytest.mark.parametrize(
    ("caption", "noun", "expected"),
    [
        ("a drawing of a cat", "drawing", "a <noir> drawing of a cat"),
        ("a cat in the snow", "drawing", "a <noir> drawing of a cat in the snow"),
        ("a cat in the snow", "ink drawing", "a <noir> ink drawing of a cat in the snow"),
        ("a cat in the snow", "style", "a photo of a cat in the snow in a <noir> style"),
        ("", "drawing", "a <noir> drawing of something"),
    ],
)
def test_of_a_manner_a_caption_without_its_noun_is_what_it_is_seen_on(caption: str, noun: str, expected: str) -> None:
    assert with_token(caption, noun, "<noir>") == expected


@pytest.mark.parametrize(
    ("caption", "noun", "subject"),
    [
        ("a picture of a cat at night", "picture", "a cat at night"),
        ("a photo of a cat in a style", "style", "a cat"),
        ("a picture of something", "picture", ""),
        ("a cat", "picture", ""),
        ("a photo of a dog", "dog", ""),
    ],
)
def test_what_a_picture_shows_is_read_from_a_caption_of_how_it_is_made(caption: str, noun: str, subject: str) -> None:
    assert subject_of(caption, noun) == subject


def test_a_noun_may_be_of_several_words_or_odd_letters() -> None:
    assert with_token("a teddy bear (old)", "teddy bear", "<ted>") == "a <ted> teddy bear (old)"
    assert with_token("a c++ book", "c++", r"<a-1_\g>") == r"a <a-1_\g> c++ book"


def test_a_noun_that_is_not_known_yet_leaves_its_place_open() -> None:
    said = "a photo of a thing on the grass, a thing"
    assert without_noun(said, "thing", "{noun}") == "a photo of a {noun} on the grass, a thing"
    assert without_noun("somewhere in the snow", "thing", "{noun}") == "a photo of a {noun}, somewhere in the snow"


def test_a_template_is_said_of_every_picture() -> None:
    captioner: Captioner = TemplateCaptioner()
    assert captioner.caption(tiny_clip.random_pictures(2), "dog") == ["a photo of a dog"] * 2
    with pytest.raises(CaptionError, match="must have"):
        TemplateCaptioner("a photo")


def test_retrieval_chooses_the_phrase_that_clip_finds_nearest(tmp_path: Path) -> None:
    judge = load_judge(tiny_clip.build_clip(tmp_path / "clip"))
    bank = ("on the grass", "at night", "next to a cat")
    pictures = tiny_clip.random_pictures(6)
    captioner: Captioner = RetrievalCaptioner(judge, bank)
    captions = captioner.caption(pictures, "dog")
    candidates = ["a photo of a dog", *(f"a photo of a dog {phrase}" for phrase in bank)]
    texts = judge.text_features(candidates)
    for picture, caption in zip(pictures, captions, strict=True):
        fits = texts @ judge.image_features([picture])[0]
        torch.testing.assert_close(fits[candidates.index(caption)], fits.max(), atol=1e-6, rtol=0)
    assert len(set(captions)) > 1
    assert captioner.caption([], "dog") == []
    assert RetrievalCaptioner(judge).phrase_bank == load_phrase_bank()
    assert RetrievalCaptioner(judge, ()).caption(pictures[:1], "dog") == ["a photo of a dog"]


def test_retrieval_says_of_a_manner_what_it_is_seen_on(tmp_path: Path) -> None:
    judge = load_judge(tiny_clip.build_clip(tmp_path / "clip"))
    subjects = load_subject_bank()
    pictures = tiny_clip.random_pictures(6)
    captioner = RetrievalCaptioner(judge, ("in black and white",))
    captions = captioner.caption(pictures, "drawing")
    candidates = [f"a drawing of {subject}" for subject in subjects]
    texts = judge.text_features(candidates)
    for picture, caption in zip(pictures, captions, strict=True):
        fits = texts @ judge.image_features([picture])[0]
        torch.testing.assert_close(fits[candidates.index(caption)], fits.max(), atol=1e-6, rtol=0)
    assert len(set(captions)) > 1
    styled = RetrievalCaptioner(judge, subject_bank=("a cat",)).caption(pictures[:1], "style")
    assert styled == ["a photo of a cat in a style"]


def test_blip_goes_on_from_the_noun_and_is_read_only_when_needed(tmp_path: Path) -> None:
    captioner = BlipCaptioner(tmp_path / "blip")  # nothing is there yet
    tiny_clip.build_blip(tmp_path / "blip")
    pictures = [*tiny_clip.random_pictures(1), Image.new("L", (30, 20))]
    captions = captioner.caption(pictures, "dog")
    assert len(captions) == 2
    assert all(caption.startswith("a photo of a dog") for caption in captions)
    assert captioner.caption(pictures[:1], "dog") == captions[:1]
    assert with_token(captions[0], "dog", "<rex>").startswith("a photo of a <rex> dog")
    assert captioner.caption(pictures[:1], "photo")[0].startswith("a photo of ")
    (styled,) = captioner.caption(pictures[:1], "style")
    assert styled.startswith("a photo of")
    assert styled.endswith(" in a style")


def test_the_shipped_lists_are_rich_enough() -> None:
    assert len(load_phrase_bank()) >= 50
    assert len(load_subject_bank()) >= 50
    assert {"on the grass", "in the snow", "on a wooden table"} <= set(load_phrase_bank())
    assert len(load_generic_prompts()) == 20


def test_a_base_may_bring_its_own_lists(tmp_path: Path) -> None:
    assert load_phrase_bank(tmp_path) == load_phrase_bank()
    (tmp_path / "phrase_bank.txt").write_text("# places\n\n at sea \nat home\nat sea\n")
    assert load_phrase_bank(tmp_path) == ("at sea", "at home")
    assert load_subject_bank(tmp_path) == load_subject_bank()
    assert load_generic_prompts(tmp_path) == load_generic_prompts()
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(EmptyList, match="no line"):
        read_phrases(tmp_path / "empty.txt")
