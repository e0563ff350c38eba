"""Two workers, each a process of its own, read one queue: both do part of the work, and one alone does the rest."""

from collections import Counter
from collections.abc import Iterator
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
    """A job of a base that neither of them has comes to none of them, though its message is sent before all others."""
    world, foreign = World(sessions, store, equipment.base.id), World(sessions, store, "f" * 64)
    for one in (world, foreign):
        one.base()
    for program in pair:
        program.start()
    not_theirs = foreign.generation(foreign.history("eve"), "a dog")
    jobs = [world.generation(world.history(f"user {place}"), "a dog", steps=20) for place in range(16)]
    send = make_sender(redis_url)
    send(GENERATE, kwargs={"job_id": str(not_theirs)}, queue=queue_of(GENERATE, foreign.base_id))
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
    assert (world.job(not_theirs).state, world.job(not_theirs).attempt) == (JobState.QUEUED, 0)
