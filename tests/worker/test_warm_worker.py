"""A generation goes first to the worker that has its version at hand, and to anybody else a moment later."""

from datetime import timedelta
from uuid import UUID

import pytest
import redis
from celery import Celery
from sqlalchemy import func, update

from app.db import UnitOfWork
from app.jobs.claims import KEPT_FOR, claim, kept_from, whose_turn
from app.jobs.models import Job, JobKind, JobState, WorkerRow
from app.jobs.queueing import ALIVE, queue_job, warm_worker
from app.queue import CAPTION, FORGET, GENERATE, LEARN, own_queue_of, queue_of
from tests.worker.world import World
from worker import current
from worker.process import Worker
from worker.queues import read_queues
from worker.tasks import generate_pictures

OTHER = "elsewhere:1:1"


@pytest.fixture(autouse=True)
def _this_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "_worker", worker)
    worker.sweep.end()


def report(world: World, worker_id: str = OTHER) -> None:
    """Another worker of the same base says that it is there."""
    with world.sessions.begin() as session:
        session.merge(
            WorkerRow(id=worker_id, base_id=world.base_id, device="cpu", holds={}, seen_at=session.scalar(func.now()))
        )


def serve(world: World, history: UUID, worker_id: str) -> None:
    """A worker takes a job of that history and ends it."""
    job = world.generation(history, "a dog")
    with world.sessions.begin() as session:
        assert claim(session, job, worker_id, timedelta(minutes=1)) is not None
        ended = {"state": JobState.DONE.value, "lease_until": None}
        session.execute(update(Job).where(Job.id == job).values(**ended))


def keep(world: World, job: UUID, worker_id: str, age: timedelta = timedelta(0)) -> UUID:
    """A generation that is kept for a worker, asked for some time ago."""
    with world.sessions.begin() as session:
        values = {"kept_for": worker_id, "created_at": func.now() - age}
        session.execute(update(Job).where(Job.id == job).values(**values))
    return job


def test_a_history_is_warm_where_it_was_worked_on_last(worker: Worker, world: World) -> None:
    history, fresh = world.history(), world.history("ben")
    report(world)
    for served_by in (OTHER, worker.id, OTHER):
        serve(world, history, served_by)
    with world.sessions() as session:
        assert warm_worker(session, history) == OTHER
        assert warm_worker(session, fresh) is None


def test_nothing_is_kept_for_a_worker_that_is_silent_or_alone(worker: Worker, world: World) -> None:
    history = world.history()
    serve(world, history, worker.id)
    with world.sessions() as session:
        assert warm_worker(session, history) is None  # there is no other to keep it from
    report(world)
    serve(world, history, OTHER)
    with world.sessions.begin() as session:
        silent = {"seen_at": func.now() - ALIVE - timedelta(seconds=1)}
        session.execute(update(WorkerRow).where(WorkerRow.id == OTHER).values(**silent))
    with world.sessions() as session:
        assert warm_worker(session, history) is None


def test_the_warm_worker_is_rung_in_its_own_queue_and_all_the_others_too(worker: Worker, world: World) -> None:
    history = world.history()
    report(world)
    serve(world, history, OTHER)
    sent: list[tuple[str, str]] = []
    uow = UnitOfWork(world.sessions, lambda task, *, kwargs, queue: sent.append((task, queue)))
    with uow:
        jobs = [
            queue_job(uow, Job(owner_id=world.user("ada"), history_id=history, kind=kind.value))
            for kind in (JobKind.GENERATE, JobKind.FORGET)
        ]
        uow.commit()
    everybody = [(task, queue_of(task, world.base_id)) for task in (GENERATE, FORGET)]
    assert sent == [(GENERATE, own_queue_of(OTHER)), *everybody]
    assert [job.kept_for for job in jobs] == [OTHER, None]


def test_what_is_kept_for_another_is_left_to_it_for_a_moment(worker: Worker, world: World) -> None:
    """Asked for tomorrow, so that it is still kept when this has been looked at, however slow the machine is."""
    job = keep(world, world.generation(world.history(), "a dog"), OTHER, age=timedelta(days=-1))
    with world.sessions() as session:
        asked = session, [JobKind.GENERATE], [world.base_id]
        assert whose_turn(*asked, worker.id) is None
        assert whose_turn(*asked, OTHER) == job
        left = kept_from(*asked, worker.id)
        assert left is not None
        assert timedelta(hours=23).total_seconds() < left <= (timedelta(days=1) + KEPT_FOR).total_seconds()
        assert kept_from(*asked, OTHER) is None
    keep(world, job, OTHER, age=KEPT_FOR)
    with world.sessions() as session:
        assert whose_turn(session, [JobKind.GENERATE], [world.base_id], worker.id) == job
        assert kept_from(session, [JobKind.GENERATE], [world.base_id], worker.id) is None


def test_a_job_whose_worker_does_not_come_is_done_by_the_one_that_was_rung(worker: Worker, world: World) -> None:
    job = keep(world, world.generation(world.history(), "a dog"), OTHER)
    generate_pictures(str(job))
    assert world.job(job).state == JobState.DONE
    assert world.job(job).worker == worker.id


def test_nobody_waits_while_there_is_something_to_do(worker: Worker, world: World) -> None:
    """A day is left until this one may be taken, so a hand that waited for it would never come back."""
    kept = keep(world, world.generation(world.history(), "a dog"), OTHER, age=timedelta(days=-1))
    free = world.generation(world.history("ben"), "a cat")
    generate_pictures(str(kept))
    assert (world.job(kept).state, world.job(free).state) == (JobState.QUEUED, JobState.DONE)


def test_a_worker_reads_the_queues_of_its_base_and_its_own() -> None:
    celery = Celery()
    read_queues(celery, "ab" * 32, "here:1:2")
    expected = {"worker.here:1:2", *(f"{name}.abababababababab" for name in ("learn", "generate", "caption", "forget"))}
    assert set(celery.amqp.queues.consume_from) == expected
    assert {queue_of(task, "ab" * 32) for task in (LEARN, GENERATE, CAPTION, FORGET)} < expected


def test_a_worker_that_has_gone_leaves_no_messages_behind(worker: Worker, world: World, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as broker:
        for one in (OTHER, "alive:1:1"):
            report(world, one)
            broker.lpush(own_queue_of(one), "a message")
        with world.sessions.begin() as session:
            silent = {"seen_at": func.now() - timedelta(hours=2)}
            session.execute(update(WorkerRow).where(WorkerRow.id == OTHER).values(**silent))
        worker.sweep.once()
        assert [broker.exists(own_queue_of(one)) for one in (OTHER, "alive:1:1")] == [0, 1]
