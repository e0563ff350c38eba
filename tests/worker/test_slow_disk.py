"""A disk that keeps its worker waiting: meanwhile no row of a job is locked, so that its lease can be renewed."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.jobs.models import Job, JobState
from app.storage import StoredFile
from tests.worker.test_forgetting import Learned, ask, learned, line  # noqa: F401 - fixtures
from tests.worker.world import World
from worker.forgetting import forget
from worker.generating import generate
from worker.process import Worker
from worker.samples import keep_sample


@pytest.fixture(autouse=True)
def _nobody_else_writes(worker: Worker) -> None:
    worker.sweep.end()
    worker.hands.end()


def is_locked(world: World, job: UUID) -> bool:
    try:
        with world.sessions() as session:
            session.execute(select(Job.id).where(Job.id == job).with_for_update(nowait=True))
    except OperationalError:
        return True
    return False


@pytest.fixture
def locked_while_writing(worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each time that something was stored: whether the row of any job was locked."""
    seen: list[bool] = []
    put = worker.store.put

    def looked(data: bytes) -> str:
        with world.sessions() as session:
            jobs = session.scalars(select(Job.id)).all()
        seen.append(any(is_locked(world, job) for job in jobs))
        return put(data)

    monkeypatch.setattr(worker.store, "put", looked)
    return seen


def test_no_job_is_locked_while_its_pictures_are_written(
    worker: Worker, world: World, locked_while_writing: list[bool]
) -> None:
    job = world.generation(world.history(), "a dog", count=3)
    generate(worker, job)
    assert world.job(job).state == JobState.DONE
    assert locked_while_writing == [False] * 3


def test_no_job_is_locked_while_a_sample_is_written(
    worker: Worker, world: World, locked_while_writing: list[bool]
) -> None:
    hold = worker.hands.take(world.learning(world.history()), "learn")
    assert hold is not None
    locked_while_writing.clear()
    keep_sample(worker, hold, 0, b"a picture")
    assert locked_while_writing == [False]
    worker.hands.release(hold)


def test_no_job_is_locked_while_a_proof_looks_through_all_that_is_stored(
    worker: Worker,
    world: World,
    learned: Learned,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = ask(world, learned("momo"), "rex", erase=True)
    seen: list[bool] = []
    files = worker.store.blobs.all

    def looked() -> Iterator[StoredFile]:
        seen.append(is_locked(world, job))
        yield from files()

    monkeypatch.setattr(worker.store.blobs, "all", looked)
    forget(worker, job)
    assert world.job(job).state == JobState.DONE
    assert seen == [False]
