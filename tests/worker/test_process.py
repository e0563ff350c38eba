"""The worker as a program: killed, stopped, and its broker taken away, in the middle of its work."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
import redis
import torch
from celery import Celery

from app.celery_sender import make_sender
from app.config import Settings
from app.db import Sessions
from app.jobs.models import JobState, WorkerRow
from app.queue import GENERATE, LEARN, queue_of
from app.servers import Valkey, broker_url
from app.storage import BlobStore
from tests.worker.library import learn_alone
from tests.worker.processes import WorkerProcess, wait_until
from tests.worker.world import World
from worker.equipment import Equipment

LONG = 80  # steps: enough to be interrupted in


def learn_as_the_worker_does(equipment: Equipment) -> str:
    """The digest of an uninterrupted learning on as many threads as a `WorkerProcess` has, which sums depend on."""
    before = torch.get_num_threads()
    torch.set_num_threads(WorkerProcess.THREADS)
    try:
        return learn_alone(equipment, "rex", "dog", steps=LONG).digest
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of the test's own, to be killed."""
    made = Valkey(tmp_path / "valkey")
    made.start()
    yield made
    made.close()


@pytest.fixture
def program(settings: Settings, broker: Valkey, plain_folder: Path, tmp_path: Path) -> Iterator[WorkerProcess]:
    changes = {"redis_url": broker.url, "base_model": str(plain_folder)}
    made = WorkerProcess(settings.model_copy(update=changes), tmp_path)
    yield made
    made.close()


@pytest.fixture
def send(broker: Valkey) -> Callable[..., object]:
    return make_sender(broker.url)


@pytest.fixture
def world(sessions: Sessions, store: BlobStore, equipment: Equipment, program: WorkerProcess) -> World:
    """With the rows of a base that a worker of before has reported."""
    made = World(sessions, store, equipment.base.id)
    made.base()
    return made


def is_done(world: World, job_id: UUID) -> Callable[[], bool]:
    return lambda: world.job(job_id).state == JobState.DONE


def is_well_under_way(world: World, job_id: UUID) -> Callable[[], bool]:
    """It has begun, and has a checkpoint to go on from."""

    def look() -> bool:
        job = world.job(job_id)
        return job.stage == "learning" and job.step > 0 and job.checkpoint_sha256 is not None

    return look


def it_never_stopped(
    program: WorkerProcess, world: World, history: UUID, job: UUID, send: Callable[..., object]
) -> None:
    """The same process has done the job at its first try, and hears messages again."""
    told = world.generation(history, "a photo of the <rex> dog", version=1)
    send(GENERATE, kwargs={"job_id": str(told)}, queue=queue_of(GENERATE, world.base_id))
    wait_until(is_done(world, told), "a message is heard again")
    assert program.alive
    assert world.job(job).attempt == 1


def test_a_message_is_enough_and_none_is_too(program: WorkerProcess, world: World, send: Callable[..., object]) -> None:
    program.start()
    history = world.history()
    learned = world.learning(history)
    send(LEARN, kwargs={"job_id": str(learned)}, queue=queue_of(LEARN, world.base_id))
    wait_until(is_done(world, learned), "the learning is done")
    forgotten = world.generation(history, "a photo of a <rex> dog", version=1)
    wait_until(is_done(world, forgotten), "the sweep has rung for the generation")
    assert len(world.pngs(forgotten)) == 1
    assert program.stop() < 20
    assert program.process is not None
    assert program.process.returncode == 0
    with world.sessions() as session:
        assert session.query(WorkerRow).count() == 0


def test_a_killed_worker_costs_a_delay_and_nothing_else(
    program: WorkerProcess, world: World, equipment: Equipment
) -> None:
    """kill -9 in the middle of a learning: it goes on from its checkpoint, and one version comes of it."""
    history = world.history()
    job = world.learning(history, steps=LONG)
    program.start()
    wait_until(is_well_under_way(world, job), "the learning is well under way")
    program.kill()
    program.start()
    wait_until(is_done(world, job), "the learning is done after all")
    assert "Goes on from step" in program.text
    assert world.job(job).attempt >= 2
    (version,) = world.versions(history)
    assert version.delta_sha256 == learn_as_the_worker_does(equipment)
    assert len(version.report["loss"]) == LONG
    assert sorted(world.samples(job)) == [0, LONG // 4, LONG // 2, LONG * 3 // 4, LONG]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_hands_its_jobs_back(
    program: WorkerProcess, world: World, equipment: Equipment, sign: signal.Signals
) -> None:
    history = world.history()
    job = world.learning(history, steps=LONG)
    program.start()
    wait_until(is_well_under_way(world, job), "the learning is well under way")
    assert program.stop(sign) < 20
    handed_back = world.job(job)
    assert (handed_back.state, handed_back.times_lost) == (JobState.QUEUED, 0)
    assert handed_back.checkpoint_sha256 is not None
    program.start()
    wait_until(is_done(world, job), "the next worker has done it")
    assert world.version(history, 1).delta_sha256 == learn_as_the_worker_does(equipment)


def test_a_broker_that_is_killed_and_comes_back_costs_a_delay_and_nothing_else(
    program: WorkerProcess, world: World, broker: Valkey, send: Callable[..., object]
) -> None:
    history = world.history()
    job = world.learning(history, steps=LONG)
    program.start()
    wait_until(is_well_under_way(world, job), "the learning is well under way")
    broker.kill()
    wait_until(is_done(world, job), "the learning is done without a broker")
    waiting = world.generation(history, "a photo of a <rex> dog", version=1)
    broker.start()
    wait_until(is_done(world, waiting), "the worker takes jobs again")
    it_never_stopped(program, world, history, job, send)


def test_a_broker_that_refuses_every_message_for_a_while_costs_a_delay_and_nothing_else(
    program: WorkerProcess, world: World, broker: Valkey, send: Callable[..., object]
) -> None:
    """As one does whose disk is full, or that was made the replica of another: it answers, but with an error."""
    history = world.history()
    job = world.learning(history, steps=LONG)
    program.start()
    wait_until(is_well_under_way(world, job), "the learning is well under way")
    with redis.Redis.from_url(broker.url) as client:
        client.replicaof("127.0.0.1", "1")
        wait_until(lambda: "Trying to reconnect" in program.text, "the worker has heard of it")
        wait_until(is_done(world, job), "the learning is done all the same")
        client.replicaof("NO", "ONE")
    it_never_stopped(program, world, history, job, send)


def test_a_worker_that_reads_no_more_messages_hands_its_jobs_back_whatever_the_reason(
    program: WorkerProcess, world: World, broker: Valkey
) -> None:
    """Here by a command that came with the messages; without a signal, as when something breaks in Celery."""
    job = world.learning(world.history(), steps=100_000)
    program.start()
    wait_until(is_well_under_way(world, job), "the learning is well under way")
    with Celery(broker=broker_url(broker.url)) as commander:
        commander.control.shutdown()
    wait_until(lambda: not program.alive, "the worker has ended")
    assert (world.job(job).state, world.job(job).times_lost) == (JobState.QUEUED, 0)
    assert world.job(job).checkpoint_sha256 is not None


def test_of_two_workers_the_one_that_is_killed_leaves_its_job_to_the_other(
    program: WorkerProcess, world: World, tmp_path: Path
) -> None:
    """Both take jobs of one database; each job is done once, and the killed one's by the one that is left."""
    program.settings = program.settings.model_copy(update={"lease_s": 3.0})
    (tmp_path / "second").mkdir()
    second = WorkerProcess(program.settings, tmp_path / "second")
    try:
        program.start()
        second.start()
        history = world.history()
        job, after = world.learning(history, steps=LONG), world.learning(history, "mugsy", "mug")
        wait_until(is_well_under_way(world, job), "the learning is well under way")
        assert world.job(after).state == JobState.QUEUED  # no worker is free for the second of one history
        owner = world.job(job).worker or ""
        first = program.process is not None and f":{program.process.pid}:" in owner
        dead, alive = (program, second) if first else (second, program)
        pictures = [world.generation(world.history(f"user {place}"), "a dog", steps=20) for place in range(6)]
        dead.kill()
        for waited in (job, after, *pictures):
            wait_until(is_done(world, waited), "all is done by the one that is left")
        assert alive.process is not None
        assert f":{alive.process.pid}:" in (world.job(job).worker or "")
        assert [version.number for version in world.versions(history)] == [1, 2]
        assert [len(world.pngs(one)) for one in pictures] == [1] * 6
    finally:
        second.close()


def test_a_worker_without_its_broker_stops_in_time_and_hands_its_jobs_back(
    program: WorkerProcess, world: World, broker: Valkey
) -> None:
    job = world.learning(world.history(), steps=100_000)
    program.start()
    wait_until(is_well_under_way(world, job), "the learning is well under way")
    broker.kill()
    assert program.stop() < 20
    assert (world.job(job).state, world.job(job).times_lost) == (JobState.QUEUED, 0)
    assert world.job(job).checkpoint_sha256 is not None


def test_a_worker_without_a_base_says_so_and_ends(program: WorkerProcess, world: World, tmp_path: Path) -> None:
    program.settings = program.settings.model_copy(update={"base_model": str(tmp_path / "nowhere")})
    program.start(ready=False)
    wait_until(lambda: not program.alive, "it has ended")
    assert program.process is not None
    assert program.process.returncode == 1
    assert "There is no base model at" in program.text
    assert "Traceback" not in program.text


def test_settings_that_cannot_be_used_are_named(program: WorkerProcess, world: World) -> None:
    program.settings = program.settings.model_copy(update={"heartbeat_s": -1.0})
    program.start(ready=False)
    wait_until(lambda: not program.alive, "it has ended")
    assert program.process is not None
    assert program.process.returncode == 1
    assert "HEARTBEAT_S" in program.text
    assert "Traceback" not in program.text
