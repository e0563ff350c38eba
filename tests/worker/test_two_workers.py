"""Two workers, each a process of its own, read one queue: both do part of the work, and one alone does the rest."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.celery_sender import make_sender
from app.config import Settings
from app.db import Sessions
from app.jobs.models import JobState
from app.queue import GENERATE, queue_of
from app.storage import BlobStore
from tests.worker.processes import WorkerProcess, wait_until
from tests.worker.world import World
from worker.equipment import Equipment


@pytest.fixture
def pair(settings: Settings, plain_folder: Path, tmp_path: Path) -> Iterator[list[WorkerProcess]]:
    """With few hands each, so that neither could take everything."""
    changes = {"base_model": str(plain_folder), "worker_threads": 2, "sweep_s": 2.0, "lease_s": 3.0}
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        made.append(WorkerProcess(settings.model_copy(update=changes), tmp_path / name))
    yield made
    for one in made:
        one.close()


def test_two_workers_share_one_queue_and_the_death_of_one_leaves_nothing_undone(
    pair: list[WorkerProcess], sessions: Sessions, store: BlobStore, equipment: Equipment, redis_url: str
) -> None:
    world = World(sessions, store, equipment.base.id)
    world.base()
    for one in pair:
        one.start()
    jobs = [world.generation(world.history(f"user {place}"), "a dog", steps=20) for place in range(16)]
    send = make_sender(redis_url)
    for job in jobs:
        send(GENERATE, kwargs={"job_id": str(job)}, queue=queue_of(GENERATE, world.base_id))

    def done_by() -> Counter[str]:
        states = [world.job(job) for job in jobs]
        return Counter((one.worker or "").split(":")[1] for one in states if one.state == JobState.DONE)

    wait_until(lambda: len(done_by()) == 2, "each of the two has done one")
    dead, alive = pair
    dead.kill()
    wait_until(lambda: done_by().total() == len(jobs), "all is done")
    assert set(done_by()) == {str(one.process.pid) for one in pair if one.process is not None}
    assert [len(world.pngs(job)) for job in jobs] == [1] * len(jobs)
    assert alive.alive


def test_a_job_of_another_base_comes_to_no_worker_that_has_it_not(
    pair: list[WorkerProcess], sessions: Sessions, store: BlobStore, equipment: Equipment, redis_url: str
) -> None:
    world, foreign = World(sessions, store, equipment.base.id), World(sessions, store, "f" * 64)
    for one in (world, foreign):
        one.base()
    theirs = foreign.generation(foreign.history("eve"), "a dog")
    ours = world.generation(world.history(), "a dog")
    send = make_sender(redis_url)
    pair[0].start()
    for one, job in ((foreign, theirs), (world, ours)):
        send(GENERATE, kwargs={"job_id": str(job)}, queue=queue_of(GENERATE, one.base_id))
    wait_until(is_done(world, ours), "ours is done")
    assert world.job(theirs).state == JobState.QUEUED
    assert world.job(theirs).attempt == 0


def is_done(world: World, job_id: object) -> Callable[[], bool]:
    return lambda: world.job(job_id).state == JobState.DONE  # type: ignore[arg-type]
