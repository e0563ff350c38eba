"""A lesson is examined on the pictures that are kept of it, and is not lost where its examination fails."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cns.base_model import BaseModel
from cns.history_folder import HistoryFolder
from cns.judge import Judge, load_judge
from cns.preprocessing import Pictures
from cns.settings import LearningSettings, SelectionSettings
from cns.teaching import Classroom, Lesson, teach
from tests.tiny_clip import random_pictures

AT_TOKENS = LearningSettings(steps=2, batch=2, reach="token", selection=SelectionSettings(general_prompts=4))


@pytest.fixture(scope="module")
def room(sd1: BaseModel, judged_folder: Path) -> Classroom:
    return Classroom(sd1, judge=load_judge(judged_folder / "clip"), settings=AT_TOKENS)


@pytest.fixture
def folder(sd1: BaseModel, tmp_path: Path) -> HistoryFolder:
    return HistoryFolder.create(tmp_path / "history", "tiny", sd1.id)


def lesson_of(name: str, size: tuple[int, int] = (16, 16)) -> Lesson:
    pictures = random_pictures(3, seed=sum(map(ord, name)))
    return Lesson(name, "dog", tuple(picture.resize(size) for picture in pictures))


class BlindJudge(Judge):
    """One that finds no room to look."""

    def image_features(self, pictures: Pictures) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def blinded(room: Classroom) -> Classroom:
    assert room.judge is not None
    return replace(room, judge=BlindJudge(room.judge.model, room.judge.tokenizer, room.judge.preprocessing))


def test_what_was_learned_is_published_unmeasured_where_its_examination_fails(
    room: Classroom, folder: HistoryFolder, caplog: pytest.LogCaptureFixture
) -> None:
    version = teach(folder, lesson_of("rex"), blinded(room))
    assert (folder.read_again().head, version.diagnosis, version.examination) == (1, (), {})
    assert "Nothing was measured: OutOfMemoryError('CUDA out of memory.')" in caplog.text


def test_a_later_lesson_can_do_without_the_examination_that_failed(room: Classroom, folder: HistoryFolder) -> None:
    teach(folder, lesson_of("rex"), blinded(room))
    assert set(teach(folder, lesson_of("tom"), room).examination["concepts"]) == {"rex", "tom"}


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError])
def test_whoever_stops_a_lesson_while_it_is_examined_gets_no_version(
    room: Classroom, folder: HistoryFolder, reason: type[BaseException]
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "diagnosis" and done:
            raise reason

    with pytest.raises(reason):
        teach(folder, lesson_of("rex"), replace(room, made={}), stop)
    assert folder.read_again().versions == ()


@pytest.mark.parametrize("size", [(1000, 200), (2000, 400), (960, 540)])
def test_a_concept_that_is_drawn_as_on_its_day_has_lost_nothing_however_its_pictures_are_shaped(
    room: Classroom, folder: HistoryFolder, size: tuple[int, int]
) -> None:
    teach(folder, lesson_of("rex", size), room)
    after = teach(folder, lesson_of("tom"), room)
    (remembered,) = (finding for finding in after.diagnosis if finding["signature"] == "forgetting")
    assert (remembered["concept"], remembered["value"]) == ("rex", 0.0)
