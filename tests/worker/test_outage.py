"""The database goes away for longer than a lease while a worker has jobs in hand, and comes back."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.config import Settings
from app.db import Sessions, make_engine, make_sessions
from app.jobs.models import JobState
from app.migrate import migrate
from app.servers import Postgres
from tests.worker.library import learn_alone
from tests.worker.processes import wait_until
from tests.worker.test_keeping import taken_by_a_dead_worker
from tests.worker.world import World
from worker.learning import learn
from worker.process import Worker

LONG = 60


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Postgres]:
    """A PostgreSQL of the test's own, to be stopped."""
    made = Postgres(tmp_path / "postgres", durable=False)
    made.start()
    migrate(made.url)
    yield made
    made.close()


@pytest.fixture
def sessions(database: Postgres) -> Iterator[Sessions]:
    engine = make_engine(database.url)
    yield make_sessions(engine)
    engine.dispose()


@pytest.fixture
def settings(settings: Settings, database: Postgres) -> Settings:
    """A lease that runs out soon, and a sweep that would take back at once what did."""
    changes = {"database_url": database.url, "lease_s": 2.0, "heartbeat_s": 0.3, "sweep_s": 0.05}
    return settings.model_copy(update=changes)


def test_jobs_in_hand_outlive_a_database_that_is_away_for_longer_than_a_lease(
    worker: Worker, world: World, database: Postgres
) -> None:
    """Nobody could renew a lease meanwhile, so nobody's are taken back before they could be."""
    history = world.history()
    job = world.learning(history, steps=LONG)
    thread = threading.Thread(target=learn, args=(worker, job))
    thread.start()
    wait_until(lambda: world.job(job).checkpoint_sha256 is not None, "the learning is well under way")
    database.stop()
    stopped = datetime.now(UTC)
    wait_until(lambda: datetime.now(UTC) > stopped + 1.5 * worker.settings.lease, "every lease has run out")
    database.start()
    thread.join()
    ended = world.job(job)
    assert (ended.state, ended.attempt, ended.times_lost) == (JobState.DONE, 1, 0)
    (version,) = world.versions(history)
    captioner = worker.equipment.captioner
    assert version.delta_sha256 == learn_alone(worker.equipment, "rex", "dog", captioner=captioner, steps=LONG).digest


def test_a_lease_that_ran_out_before_is_taken_back_all_the_same(worker: Worker, world: World) -> None:
    """Patience ends: whoever is dead does not come back with the database."""
    worker.sweep.end()
    job = world.learning(world.history())
    taken_by_a_dead_worker(world, job)
    worker.sweep.be_patient()
    worker.sweep.once()
    assert world.job(job).state == JobState.RUNNING

    def swept() -> bool:
        worker.sweep.once()
        return world.job(job).state == JobState.QUEUED

    wait_until(swept, "a lease's time has passed")
