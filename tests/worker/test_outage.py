"""The database goes away for longer than a lease while a worker has jobs in hand, and comes back."""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.config import Settings
from app.db import Sessions, make_engine, make_sessions
from app.jobs.claims import claim, renew
from app.jobs.models import JobState
from app.migrate import migrate
from app.servers import Postgres
from tests.worker.library import learn_alone
from tests.worker.processes import wait_until
from tests.worker.test_keeping import taken_by_a_dead_worker
from tests.worker.world import World
from worker.equipment import Equipment
from worker.learning import learn
from worker.process import Worker

LONG = 60
WRITES = "-c default_transaction_read_only=off"


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


@contextmanager
def frozen(database: Postgres) -> Iterator[int]:
    """It neither answers nor refuses: as on a disk that hangs, or a machine that is stopped for a snapshot. Yields the
    number of its first process, which lets others in.
    """
    assert database.process is not None
    stopped = [database.process.pid]
    os.kill(database.process.pid, signal.SIGSTOP)  # first, so that it has no new children
    try:
        for child in Path(f"/proc/{database.process.pid}/task/{database.process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGSTOP)
            stopped.append(int(child))
        yield stopped[0]
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def wait_for_share_of_lease(worker: Worker, share: float) -> None:
    since = datetime.now(UTC)
    wait_until(lambda: datetime.now(UTC) > since + share * worker.settings.lease, "so much of a lease has passed")


def connections_of(world: World, name: str) -> list[int]:
    """The numbers of the server's processes for them."""
    with world.sessions() as session:
        asked = text("SELECT pid FROM pg_stat_activity WHERE application_name = :name")
        return list(session.scalars(asked, {"name": name}))


def test_a_database_that_stands_still_for_longer_than_a_lease_takes_no_job_from_a_worker_that_is_alive(
    worker: Worker, world: World, database: Postgres, equipment: Equipment
) -> None:
    """Whoever sweeps is waiting in the database like everybody else, and here is answered before everybody else."""
    job = world.learning(world.history(), steps=LONG)
    url = f"{worker.settings.database_url}&application_name=second"
    second = Worker(worker.settings.model_copy(update={"database_url": url}), equipment, lambda *_args, **_kwargs: None)
    ring, swept = second.sweep.ring, Counter[str]()

    def count(*given: Any, **named: Any) -> None:
        ring(*given, **named)
        swept["times"] += 1

    second.sweep.ring = count  # type: ignore[method-assign]
    second.start()
    thread = threading.Thread(target=learn, args=(worker, job))
    thread.start()
    try:
        wait_until(lambda: world.job(job).checkpoint_sha256 is not None, "the learning is well under way")
        wait_until(lambda: swept["times"] > 0, "the other one sweeps")
        its_own = connections_of(world, "second")
        with frozen(database) as server:
            wait_for_share_of_lease(worker, 1.5)
            before = swept["times"]
            for pid in (*its_own, server):
                os.kill(pid, signal.SIGCONT)
            wait_until(lambda: swept["times"] > before + 1, "it has swept while all the others still wait")
        thread.join()
    finally:
        second.close()
    ended = world.job(job)
    assert (ended.state, ended.attempt, ended.times_lost) == (JobState.DONE, 1, 0)


def test_after_the_database_stood_still_a_sweep_is_patient(worker: Worker, world: World, database: Postgres) -> None:
    """However it comes to wait for it: before it has looked, while it looks, or when it has looked."""
    worker.sweep.end()
    job = world.learning(world.history())
    taken_by_a_dead_worker(world, job)
    with frozen(database):
        swept = threading.Thread(target=worker.sweep.once)
        swept.start()
        wait_for_share_of_lease(worker, 0.75)
    swept.join()
    assert worker.sweep.is_patient
    assert world.job(job).state == JobState.RUNNING


def test_a_worker_that_starts_while_the_database_is_away_takes_nothing_from_whoever_is_alive(
    worker: Worker, world: World, database: Postgres, equipment: Equipment, caplog: pytest.LogCaptureFixture
) -> None:
    """Their leases ran out meanwhile, and it may come to its sweep before they come to their heartbeats."""
    caplog.set_level(logging.WARNING)
    worker.sweep.end()
    worker.hands.end()
    job = world.learning(world.history())
    taken_by_a_dead_worker(world, job)
    patient = worker.settings.model_copy(update={"lease_s": 8.0})
    second = Worker(patient, equipment, lambda *_args, **_kwargs: None)
    database.stop()
    starts = threading.Thread(target=second.start)
    starts.start()
    wait_until(lambda: "trying again" in caplog.text, "it waits for the database")
    database.start()
    starts.join()
    world.sessions.kw["bind"].dispose()  # its connections have gone with the server
    try:
        assert second.sweep.is_patient
        second.sweep.once()
        assert (world.job(job).state, world.job(job).times_lost) == (JobState.RUNNING, 0)
        wait_until(lambda: world.job(job).state == JobState.QUEUED, "a lease's time has passed")
    finally:
        second.close()


def test_a_lease_is_as_long_after_the_database_stood_still_while_it_was_renewed(worker: Worker, world: World) -> None:
    """The transaction began before that."""
    worker.sweep.end()
    worker.hands.end()
    job = world.generation(world.history(), "a dog")
    with world.sessions.begin() as session:
        session.execute(text("SELECT 1"))
        begun = session.scalar(text("SELECT now()"))
        wait_until(lambda: datetime.now(UTC) > begun + worker.settings.lease, "a lease's time has passed")
        held = claim(session, job, worker.id, worker.settings.lease)
        assert held is not None
        assert left_of_lease(session, job) > 0
        session.execute(text("UPDATE jobs SET lease_until = now()"))
        assert renew(session, held, worker.settings.lease) is False
        assert left_of_lease(session, job) > 0


def left_of_lease(session: Session, job: UUID) -> float:
    """Seconds, by the database's clock."""
    left = session.scalar(
        text("SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM jobs WHERE id = :id"), {"id": job}
    )
    return float(left)


@contextmanager
def read_only(database: Postgres) -> Iterator[None]:
    """Nothing can be written, as on a server that is to follow another: whoever is connected is so anew."""
    engine = create_engine(database.url, isolation_level="AUTOCOMMIT", connect_args={"options": WRITES})
    end_others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    with engine.connect() as connection:
        connection.execute(text("ALTER DATABASE palimpsest SET default_transaction_read_only = on"))
        try:
            connection.execute(end_others)
            yield
        finally:
            connection.execute(text("ALTER DATABASE palimpsest RESET default_transaction_read_only"))
    engine.dispose()


def test_a_database_that_only_reads_for_a_while_is_waited_for(
    worker: Worker, world: World, database: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """As during a failover. What was connected then hears of it, and connects anew when it is over."""
    caplog.set_level(logging.WARNING)  # whatever a service that was made before asked for
    history = world.history()
    job = world.learning(history, steps=LONG)
    thread = threading.Thread(target=learn, args=(worker, job))
    thread.start()
    wait_until(lambda: world.job(job).checkpoint_sha256 is not None, "the learning is well under way")
    with read_only(database):
        wait_until(lambda: "trying again" in caplog.text, "a checkpoint or the version waits")
        wait_until(lambda: "leases wait" in caplog.text, "a heartbeat waits")
        assert "read-only transaction" in caplog.text
    thread.join()
    ended = world.job(job)
    assert (ended.state, ended.attempt, ended.times_lost) == (JobState.DONE, 1, 0)
    assert len(world.versions(history)) == 1


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
