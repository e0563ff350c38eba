"""A history is scored version by version: as all of it at once, and without holding all of its pictures."""

import gc
from pathlib import Path

import pytest
import torch

from cns.base_model import BaseModel
from cns.compose import compose
from cns.examination import ExaminationSettings, requests_about
from cns.history_folder import HistoryFolder
from cns.judge import Judge, load_judge
from cns.scoring import score_history, score_pictures
from cns.series import Series, make_series
from tests.cns.test_compose import make_delta
from tests.tiny_clip import random_pictures

SETTINGS = ExaminationSettings(("a photo of a {}", "a {} at night"), pictures_per_prompt=2, steps=2)
NAMES = ("rex", "mug", "tom")


@pytest.fixture(scope="module")
def judge(judged_folder: Path) -> Judge:
    return load_judge(judged_folder / "clip")


@pytest.fixture(scope="module")
def folder(sd1: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> HistoryFolder:
    """A history of three concepts of one noun."""
    made = HistoryFolder.create(tmp_path_factory.mktemp("scoring") / "history", "tiny", sd1.id)
    parent = None
    with made.writing():
        for seed, name in enumerate(NAMES):
            learned = make_delta(sd1, name, seed, parent=parent)
            made.publish(learned, random_pictures(3, seed=seed))
            parent = learned.digest
    return made


def test_scores_are_those_of_all_pictures_made_together(folder: HistoryFolder, sd1: BaseModel, judge: Judge) -> None:
    versions = [compose(sd1, folder.load_deltas(number)) for number in range(4)]
    rows = [(0, learned) for learned in folder.history.versions]
    rows += [(number, learned) for number in (1, 2, 3) for learned in folder.history.versions[:number]]
    series = [
        Series(versions[number], requests_about("cat", SETTINGS, f"<{learned.concept}>" if number else None))
        for number, learned in rows
    ]
    texts = [request.prompt for request in requests_about("cat", SETTINGS)]
    steps: list[tuple[int, int]] = []
    expected = []
    for (number, learned), made in zip(rows, make_series(sd1, series, on_step=lambda *at: steps.append(at))):
        measured = score_pictures(judge, made, judge.image_features(folder.load_pictures(learned)), texts)
        expected.append({"version": number, "concept": learned.concept, **measured})
    told: list[tuple[int, int]] = []
    found = score_history(folder, sd1, judge, settings=SETTINGS, on_step=lambda *at: told.append(at))
    assert found == expected
    assert told == steps
    assert told[-1] == (2 * 4 * (1 + 1 + 2 + 3),) * 2  # of the base one series serves all three


def test_the_pictures_of_earlier_versions_are_not_held(folder: HistoryFolder, sd1: BaseModel, judge: Judge) -> None:
    """All of them would take memory with the square of the number of concepts."""

    def count_pictures() -> int:
        found = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        return sum(len(one) for one in found if one.ndim == 4 and one.shape[1:] == (3, 16, 16))

    held: list[int] = []
    before = count_pictures()
    score_history(folder, sd1, judge, settings=SETTINGS, on_step=lambda *_: held.append(count_pictures() - before))
    assert max(held) <= 4  # the last row of the version before
