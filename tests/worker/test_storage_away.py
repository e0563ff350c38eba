"""The storage cannot be used for a while: its disk is full, or the bucket does not answer."""

import errno
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from app.db import UnitOfWork
from app.jobs.models import Job, JobState
from app.jobs.service import retry
from cns.learning import LearningRun
from tests.worker.test_learning import at_step, digest_of
from tests.worker.world import QUICK, World
from worker.errors import WorkerStops
from worker.learning import learn
from worker.process import Worker

LAST = QUICK["steps"] - 1


class Disk:
    """That of a worker's storage, which can be filled and emptied."""

    def __init__(self, worker: Worker, monkeypatch: pytest.MonkeyPatch):
        self.is_full = False
        put = worker.store.put

        def put_if_there_is_room(data: bytes) -> str:
            if self.is_full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return put(data)

        monkeypatch.setattr(worker.store, "put", put_if_there_is_room)

    def fill(self) -> None:
        self.is_full = True

    def empty(self) -> None:
        self.is_full = False


@pytest.fixture
def disk(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(worker, monkeypatch)


def at(step: int, act: Callable[[], Any], worker: Worker, job: UUID) -> None:
    """Learn, and call `act` before step number `step`."""
    with pytest.MonkeyPatch.context() as patched:
        at_step(patched, step, act)
        learn(worker, job)


def interrupt(worker: Worker, job: UUID, step: int = 5) -> None:
    """Learn up to that step, of which a checkpoint is left."""
    at(step, worker.hands.stop, worker, job)
    worker.hands.stopping.clear()


def steps_of(worker: Worker, job: UUID, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Learn, and say which steps that took."""
    taken: list[int] = []
    original = LearningRun.step

    def counted(run: LearningRun) -> float:
        taken.append(run.steps_done)
        return original(run)

    with monkeypatch.context() as patched:
        patched.setattr(LearningRun, "step", counted)
        learn(worker, job)
    return taken


def try_again(worker: Worker, world: World, job: UUID) -> None:
    uow = UnitOfWork(world.sessions, lambda *_args, **_kwargs: None)
    retry(uow, worker.settings, world.job(job).owner_id, job)


def test_checkpoints_and_samples_that_cannot_be_stored_cost_no_learning(
    worker: Worker, world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before and after it are there; what is learned is the same."""
    history = world.history()
    job = world.learning(history)
    worker.settings = worker.settings.model_copy(update={"checkpoint_s": 1e-3})
    at_step(monkeypatch, 1, disk.fill)
    at_step(monkeypatch, 5, disk.empty)
    learn(worker, job)
    assert (world.job(job).state, world.job(job).error) == (JobState.DONE, None)
    assert world.version(history, 1).delta_sha256 == digest_of(worker, "rex", "dog")
    assert sorted(world.samples(job)) == [0, 6, 8]


def test_a_worker_that_stops_while_nothing_can_be_stored_hands_its_job_back(
    worker: Worker, world: World, disk: Disk
) -> None:
    """With the checkpoint from before."""
    history = world.history()
    job = world.learning(history)
    interrupt(worker, job, 3)
    checkpoint = world.job(job).checkpoint_sha256
    assert checkpoint is not None
    worker.settings = worker.settings.model_copy(update={"checkpoint_s": 3600.0})

    def fill_and_stop() -> None:
        disk.fill()
        worker.hands.stop()

    at(5, fill_and_stop, worker, job)
    ended = world.job(job)
    assert (ended.state, ended.times_lost, ended.checkpoint_sha256) == (JobState.QUEUED, 0, checkpoint)
    worker.hands.stopping.clear()
    disk.empty()
    learn(worker, job)
    assert world.version(history, 1).delta_sha256 == digest_of(worker, "rex", "dog")


def test_what_fails_as_nothing_can_be_stored_goes_on_from_its_checkpoint_when_it_is_tried_again(
    worker: Worker, world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = world.history()
    job = world.learning(history)
    interrupt(worker, job)
    at(LAST, disk.fill, worker, job)
    failed = world.job(job)
    assert failed.state == JobState.FAILED
    assert "No space left on device" in (failed.error or "")
    assert failed.checkpoint_sha256 is not None
    assert world.store.has(failed.checkpoint_sha256)
    disk.empty()
    try_again(worker, world, job)
    assert min(steps_of(worker, job, monkeypatch)) >= 5
    assert world.version(history, 1).delta_sha256 == digest_of(worker, "rex", "dog")
    assert len(world.version(history, 1).report["loss"]) == QUICK["steps"]
    assert sorted(world.samples(job)) == [0, 2, 4, 6, 8]
    assert not world.store.has(failed.checkpoint_sha256)


def test_what_is_tried_again_after_head_has_moved_begins_anew_on_what_is_head_then(
    worker: Worker, world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = world.history()
    learn(worker, world.learning(history, "rex"))
    job = world.learning(history, "mugsy", "mug")
    interrupt(worker, job)
    at(LAST, disk.fill, worker, job)
    assert world.job(job).checkpoint_sha256 is not None
    disk.empty()
    world.move_head(history, 0)
    try_again(worker, world, job)
    assert (world.job(job).checkpoint_sha256, world.samples(job)) == (None, {})
    assert steps_of(worker, job, monkeypatch) == list(range(QUICK["steps"]))
    mugsy = world.version(history, 2)
    assert (mugsy.parent_id, mugsy.delta_sha256) == (None, digest_of(worker, "mugsy", "mug"))


def test_losses_count_from_nothing_when_a_checkpoint_is_further_than_the_one_before(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.learning(world.history())
    interrupt(worker, job, 3)
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(times_lost=2))

    def stop(_: LearningRun) -> float:
        raise WorkerStops

    with monkeypatch.context() as patched:
        patched.setattr(LearningRun, "step", stop)
        learn(worker, job)
    assert (world.job(job).state, world.job(job).times_lost) == (JobState.QUEUED, 2)
    interrupt(worker, job, 6)
    assert (world.job(job).state, world.job(job).times_lost) == (JobState.QUEUED, 0)
