"""Concepts that pull hard are drawn with guidance in fewer and fewer of the noise levels, beside one that does not."""

from dataclasses import replace

import pytest

from benchmarks.continual.asking import Asking
from benchmarks.continual.judging import Judges, Jury
from benchmarks.continual.storybook_streams import storybook_streams
from benchmarks.guidance import choose_drawn, judge_shares
from cns.base_model import BaseModel
from cns.judge import load_judge
from cns.own_settings import GenerationSettings
from storybook import MODEL_FOLDER
from storybook.likeness import find_likeness
from tests.cns.test_compose import make_delta

STREAM = storybook_streams()["validation"]  # <berry>, <villa>, <dusk>, <casa>
ASKING = Asking(GenerationSettings(steps=4, guidance=4.0), concept_seeds=1)


def test_the_first_and_those_that_pull_hard_are_drawn_and_nothing_else_is_asked_for() -> None:
    pulls = {one.name: 1.0 for one in STREAM.concepts} | {"dusk": 4.0}
    drawn = choose_drawn(STREAM, pulls)
    assert [one.name for one in drawn.concepts] == ["berry", "dusk"]
    assert (drawn.compositions, len(drawn.generic_prompts)) == ((), 1)


def test_every_share_has_a_row_and_pictures_of_its_own(sd1: BaseModel) -> None:
    judges = Judges(load_judge(MODEL_FOLDER / "clip"), find_likeness())
    drawn = choose_drawn(STREAM, dict.fromkeys([one.name for one in STREAM.concepts], 1.0))
    delta = replace(make_delta(sd1, "berry", 1), class_noun="mug", reach="token")
    rows = judge_shares(sd1, Jury(sd1, drawn, judges, ASKING), {"berry": delta}, (1.0, 0.5))
    assert [(row["concept"], row["guided"]) for row in rows] == [("berry", 1.0), ("berry", 0.5)]
    assert all(rows[0][judge] != pytest.approx(rows[1][judge], abs=1e-6) for judge in ("clip", "individuals"))
