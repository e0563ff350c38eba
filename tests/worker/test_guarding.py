"""A learning that does damage is published beside head, unless its user wants it otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from app.histories.models import HeadMove, History
from app.jobs.models import JobState
from cns.diagnosis import Finding, Thresholds
from tests.worker.world import World
from worker import examining
from worker.learning import learn
from worker.process import Worker

NOTHING_IS_GOOD_ENOUGH = Thresholds(similarity_warn=2.0, similarity_bad=2.0)  # a cosine is 1 at most
ALL_IS_WELL = Thresholds(
    similarity_warn=-2, similarity_bad=-2, alignment_warn=9e9, alignment_bad=9e9,
    bleeding_warn=9e9, bleeding_bad=9e9, forgetting_warn=9e9, forgetting_bad=9e9,
)  # fmt: skip


@contextmanager
def judged_by(worker: Worker, limits: Thresholds) -> Iterator[None]:
    """While the block runs, the worker's base brings these thresholds."""
    own = worker.equipment
    worker.equipment = replace(own, thresholds=limits)
    try:
        yield
    finally:
        worker.equipment = own


def do_damage(worker: Worker, world: World, history: UUID, name: str, noun: str = "dog") -> UUID:
    job = world.learning(history, name, noun)
    with judged_by(worker, NOTHING_IS_GOOD_ENOUGH):
        learn(worker, job)
    return job


def learn_well(worker: Worker, world: World, history: UUID, name: str, noun: str = "dog") -> UUID:
    job = world.learning(history, name, noun)
    with judged_by(worker, ALL_IS_WELL):
        learn(worker, job)
    return job


def last_state(world: World, job: UUID) -> dict[str, Any]:
    return world.events(job, "state")[-1]


def test_a_version_that_does_damage_stands_beside_head_and_says_why(worker: Worker, world: World) -> None:
    history = world.history()
    learn_well(worker, world, history, "rex")
    job = do_damage(worker, world, history, "mugsy", "mug")
    held = world.version(history, 2)
    assert world.head(history) == 1
    assert held.parent_id == world.version(history, 1).id
    assert [finding["signature"] for finding in held.held_back] == ["zero-shot damage"]
    assert held.held_back[0] in held.diagnosis
    assert world.job(job).state == JobState.DONE
    with world.sessions() as session:
        assert [move.why for move in session.scalars(select(HeadMove))] == ["learned rex"]


def test_the_stream_says_that_it_was_held_back(worker: Worker, world: World) -> None:
    history = world.history()
    well, damaging = learn_well(worker, world, history, "rex"), do_damage(worker, world, history, "mugsy", "mug")
    told = last_state(world, well)
    assert (told["state"], told["version"], told["is_head"], told["held_back"]) == ("done", 1, True, [])
    told = last_state(world, damaging)
    assert (told["state"], told["version"], told["is_head"]) == ("done", 2, False)
    held = world.version(history, 2).held_back
    assert [one["sentence"] for one in told["held_back"]] == [one["sentence"] for one in held]
    assert len(world.events(damaging, "state")) == 2  # running, done


def test_the_next_learning_begins_on_head_as_if_it_had_not_been(worker: Worker, world: World) -> None:
    history = world.history()
    learn_well(worker, world, history, "rex")
    do_damage(worker, world, history, "mugsy", "mug")
    learn_well(worker, world, history, "mugsy", "mug")  # the name is free, as head does not know it
    rex, held, again = world.versions(history)
    assert (again.parent_id, again.held_back, world.head(history)) == (rex.id, [], 3)
    assert again.delta_sha256 == held.delta_sha256


def test_who_does_not_want_head_guarded_gets_what_was_learned(worker: Worker, world: World) -> None:
    history = world.history()
    with world.sessions.begin() as session:
        session.execute(update(History).where(History.id == history).values(guards_head=False))
    job = do_damage(worker, world, history, "rex")
    version = world.version(history, 1)
    assert (world.head(history), version.held_back) == (1, [])
    assert any(Finding.from_json(finding).severity == "bad" for finding in version.diagnosis)
    assert last_state(world, job)["is_head"]


def test_damage_that_was_accepted_does_not_hold_back_what_comes_after_it(worker: Worker, world: World) -> None:
    """Its drift from the base is inherited by every version above it."""
    history = world.history()
    do_damage(worker, world, history, "rex")
    world.move_head(history, 1)
    do_damage(worker, world, history, "mugsy", "mug")
    assert world.version(history, 2).held_back == []
    assert world.head(history) == 2


def test_what_nobody_examined_is_not_held_back(worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "examine", lambda *_args, **_more: 1 / 0)
    history = world.history()
    do_damage(worker, world, history, "rex")
    version = world.version(history, 1)
    assert (version.diagnosis, version.held_back, world.head(history)) == ([], [], 1)


def test_head_that_was_moved_meanwhile_stays_for_that_reason_and_no_other(worker: Worker, world: World) -> None:
    history = world.history()
    learn_well(worker, world, history, "rex")
    own = examining.examine

    def move(*args: Any, **more: Any) -> Any:
        world.move_head(history, 0)
        return own(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examining, "examine", move)
        do_damage(worker, world, history, "mugsy", "mug")
    assert (world.head(history), world.version(history, 2).held_back) == (0, [])
