"""A cancellation that comes at the worst moment: asked for before the end, and not yet heard of by the worker."""

import threading
from uuid import UUID

import pytest
from sqlalchemy import select, update

from app.blobs import Blob
from app.db import UnitOfWork
from app.errors import Conflict
from app.jobs.models import Job, JobState
from app.jobs.service import cancel, list_jobs
from app.jobs.views import list_view
from tests.worker.processes import wait_until
from tests.worker.test_forgetting import Learned, ask, forgetting, learned, line  # noqa: F401 - two are fixtures
from tests.worker.test_generating import a_base_that_never_ends
from tests.worker.test_learning import at_step, expire
from tests.worker.world import QUICK, World
from worker import generating
from worker.checkpoints import MEDIA_TYPE
from worker.forgetting import forget
from worker.generating import generate
from worker.learning import learn
from worker.process import Worker


@pytest.fixture(autouse=True)
def _deaf(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose next look at the flags never comes, however long it takes."""
    worker.sweep.end()
    monkeypatch.setattr(worker.hands, "beat", lambda: None)
    monkeypatch.setattr(worker.hands, "look", lambda: None)


def ask_to_cancel(world: World, job: UUID) -> None:
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(cancel_requested=True))


def checkpoints(world: World) -> int:
    with world.sessions() as session:
        return len(session.scalars(select(Blob).where(Blob.media_type == MEDIA_TYPE)).all())


def test_a_learning_that_is_cancelled_before_it_is_published_is_not(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = world.history()
    job = world.learning(history)
    at_step(monkeypatch, QUICK["steps"] - 1, lambda: ask_to_cancel(world, job))
    learn(worker, job)
    assert world.job(job).state == JobState.CANCELLED
    assert (world.versions(history), world.head(history)) == ([], 0)
    assert checkpoints(world) == 0


def test_pictures_that_are_cancelled_before_they_are_published_are_not(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.generation(world.history(), "a dog")
    original = generating.to_png

    def cancel_first(*arguments: object) -> bytes:
        ask_to_cancel(world, job)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(generating, "to_png", cancel_first)
    generate(worker, job)
    assert world.job(job).state == JobState.CANCELLED
    assert world.pngs(job) == []


def test_a_worker_that_stops_hands_nothing_back_that_nobody_wants(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, rung: list[tuple[str, str]]
) -> None:
    """It would be begun again, perhaps much later, and only then be heard of as cancelled."""
    job = world.learning(world.history(), steps=10_000)

    def cancel_and_stop() -> None:
        ask_to_cancel(world, job)
        worker.hands.stop()

    at_step(monkeypatch, 5, cancel_and_stop)
    rung.clear()
    learn(worker, job)
    assert world.job(job).state == JobState.CANCELLED
    assert world.job(job).finished_at is not None
    assert checkpoints(world) == 0
    assert rung == []


def test_a_worker_that_stops_ends_pictures_that_nobody_wants(worker: Worker, world: World) -> None:
    job = world.generation(world.history(), "a dog", steps=500)
    with a_base_that_never_ends(worker.equipment.base):
        thread = threading.Thread(target=generate, args=(worker, job))
        thread.start()
        wait_until(lambda: world.job(job).step > 0, "it has begun")
        ask_to_cancel(world, job)
        worker.stop()
        thread.join()
    assert world.job(job).state == JobState.CANCELLED


def test_an_erasure_that_is_published_cannot_be_cancelled_while_it_waits_to_go_on(
    worker: Worker,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    learned: Learned,  # noqa: F811
) -> None:
    """The rows are gone, and their files would stay without a proof."""
    job = ask(world, learned("momo"), "rex", erase=True)
    uow = UnitOfWork(world.sessions, lambda *_args, **_kwargs: None)

    def may_be_cancelled() -> bool:
        with world.sessions() as session:
            listed = list_view(session, list_jobs(session, world.user("ada"), 1), world.user("ada"), {})
        return not listed[0].is_erasing

    assert may_be_cancelled()
    with monkeypatch.context() as patched:
        patched.setattr("worker.forgetting.erase_files", lambda *_: expire(world, job))
        forget(worker, job)
    assert (world.job(job).state, forgetting(world, job).proof.keys()) == (JobState.QUEUED, {"versions"})
    assert not may_be_cancelled()
    with pytest.raises(Conflict, match="cannot be undone"):
        cancel(uow, world.user("ada"), job)
    forget(worker, job)
    assert world.job(job).state == JobState.DONE
    assert {"removed", "files_looked_at"} <= forgetting(world, job).proof.keys()
    with pytest.raises(Conflict, match="done already"):
        cancel(uow, world.user("ada"), job)
