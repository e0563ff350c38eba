"""Streams: what is learned and judged by, from the storybook and from people's own folders."""

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.continual.digest import stream_digest
from benchmarks.continual.parts import cut_parts
from benchmarks.continual.storybook_streams import storybook_streams
from benchmarks.continual.streams import StreamRefused, load_stream
from cns.captions import TemplateCaptioner

STREAMS = storybook_streams()


def test_the_first_stream_has_ten_concepts_of_every_kind() -> None:
    stream = STREAMS["one"]
    nouns = [concept.class_noun for concept in stream.concepts]
    assert len(nouns) == 10
    assert nouns.count("cat") == nouns.count("mug") == 2
    assert {"drawing", "beach"} <= set(nouns)
    assert len(stream.generic_prompts) == 20
    for concept in stream.concepts:
        assert (len(concept.lesson.pictures), len(concept.held_out)) == (5, 8)
        assert all(concept.subject in caption for caption in concept.lesson.captions)
        taught = {picture.tobytes() for picture in concept.lesson.pictures}
        assert not taught & {picture.tobytes() for picture in concept.held_out}
        assert {prompt.kind for prompt in concept.prompts} == {"own", "new", "with", "style"}


def test_settings_are_tuned_on_other_individuals() -> None:
    names = {concept.name for concept in STREAMS["one"].concepts}
    assert not names & {concept.name for concept in STREAMS["validation"].concepts}


def test_twins_name_each_other_and_are_asked_for_together() -> None:
    stream = STREAMS["one"]
    twins = {concept.name: concept.twin for concept in stream.concepts if concept.twin}
    assert twins == {"misty": "jade", "jade": "misty", "cocoa": "latte", "latte": "cocoa"}
    assert {("misty", "jade"), ("cocoa", "latte")} <= {one.names for one in stream.compositions}
    assert {len(one.names) for one in stream.compositions} == {2, 3}


def test_the_second_stream_is_the_first_in_reverse() -> None:
    one, two = STREAMS["one"], STREAMS["two"]
    assert two.concepts == one.concepts[::-1]
    assert two.compositions == one.compositions


def test_a_stream_that_is_cut_keeps_only_what_is_still_possible() -> None:
    cut = STREAMS["one"].first(2)
    assert [concept.name for concept in cut.concepts] == ["misty", "cocoa"]
    assert cut.name == "one-first-2"
    assert STREAMS["quick"].first(3) is STREAMS["quick"]
    assert [concept.twin for concept in cut.concepts] == [None, None]
    assert [one.names for one in cut.compositions] == [("misty", "cocoa")]


def test_streams_are_the_same_every_time_and_differ_from_each_other() -> None:
    again = storybook_streams()
    digests = {name: stream_digest(stream) for name, stream in STREAMS.items()}
    assert digests == {name: stream_digest(stream) for name, stream in again.items()}
    assert len(set(digests.values())) == len(digests)


def test_nothing_is_judged_by_a_picture_that_was_learned_from() -> None:
    for stream in STREAMS.values():
        learned = {picture.tobytes() for one in stream.concepts for picture in one.lesson.pictures}
        judged = [picture.tobytes() for one in stream.concepts for picture in (*one.held_out, *one.beside)]
        assert learned.isdisjoint(judged)
        assert len(set(judged)) == len(judged)


def test_parts_lie_side_by_side() -> None:
    picture = Image.new("RGB", (64, 64), "red")
    picture.paste("blue", (32, 0, 64, 64))
    left, right = cut_parts(picture, 2)
    assert left.size == right.size == (64, 64)
    assert left.getcolors() == [(64 * 64, (255, 0, 0))]
    assert right.getcolors() == [(64 * 64, (0, 0, 255))]


# --- people's own pictures ------------------------------------------------------------------------------------------


def put_pictures(home: Path, count: int) -> None:
    home.mkdir(parents=True)
    for place in range(count):
        Image.new("RGB", (8, 8), (40 * place, 90, 20)).save(home / f"{place}.png")


def test_a_folder_of_concepts_is_a_stream(tmp_path: Path) -> None:
    put_pictures(tmp_path / "rex-dog", 7)
    put_pictures(tmp_path / "second", 3)
    facts = {"name": "tom", "noun": "cat", "learn": 1, "order": -1, "twin": "nobody", "captions": ["a cat at home"]}
    (tmp_path / "second" / "concept.json").write_text(json.dumps(facts))
    stream = load_stream("one", tmp_path, TemplateCaptioner(), ["a red house"])
    first, second = stream.concepts
    assert (first.name, first.class_noun, first.twin) == ("tom", "cat", None)
    assert first.lesson.captions == ("a <tom> cat at home",)
    assert (len(first.lesson.pictures), len(first.held_out)) == (1, 2)
    assert second.lesson.captions == ("a photo of a <rex> dog",) * 5
    assert len(second.held_out) == 2
    assert [one.names for one in stream.compositions] == [("tom", "rex")]


@pytest.mark.parametrize(
    ("name", "pictures", "said"),
    [("rex", 3, "what kind of thing"), ("rex-dog", 1, "at least two pictures")],
)
def test_a_concept_that_cannot_be_used_is_refused(name: str, pictures: int, said: str, tmp_path: Path) -> None:
    put_pictures(tmp_path / name, pictures)
    with pytest.raises(StreamRefused, match=said):
        load_stream("one", tmp_path, TemplateCaptioner(), ["a red house"])


def test_a_folder_without_concepts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StreamRefused, match="no subfolder"):
        load_stream("one", tmp_path, TemplateCaptioner(), ["a red house"])
