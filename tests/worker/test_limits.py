"""What may happen how often, and for how long at most."""

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.jobs.models import JobState
from tests.worker.processes import wait_until
from tests.worker.test_generating import a_base_that_never_ends
from tests.worker.world import World
from worker import generating, learning, progress
from worker.celery_app import celery
from worker.generating import generate
from worker.hands import Hold
from worker.learning import learn
from worker.process import Worker
from worker.progress import Progress


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Told:
    """A bell that only counts."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def publish(self, _job: UUID, message: dict[str, Any]) -> bool:
        self.messages.append(message)
        return True

    def wake(self, _job: UUID) -> None:
        pass


@pytest.fixture
def hold(worker: Worker, world: World) -> Hold:
    held = worker.hands.take(world.learning(world.history()), "learn")
    assert held is not None
    return held


def test_progress_goes_to_the_database_once_a_second_and_to_watchers_a_few_times(
    worker: Worker, world: World, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, told = Clock(), Told()
    monkeypatch.setattr(progress, "time", clock)
    one = Progress(worker.sessions, told, hold)  # type: ignore[arg-type]
    one.begin("learning", 640)
    for step in range(640):  # ten seconds, 64 steps in each
        clock.now += 1 / 64
        one.tell(step + 1, 0.5)
    stored = world.events(hold.job_id, "progress")
    assert [event["step"] for event in stored] == list(range(0, 641, 64))
    assert stored[5]["seconds_left"] == 5.0
    assert 45 <= len(told.messages) <= 51
    worker.hands.release(hold)


def test_a_new_stage_is_told_at_once(worker: Worker, world: World, hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "time", Clock())
    one = Progress(worker.sessions, Told(), hold)  # type: ignore[arg-type]
    for stage in ("captions", "selection", "learning"):
        one.begin(stage, 5)
        one.tell(1)
    stages = [event["stage"] for event in world.events(hold.job_id, "progress")]
    assert stages == ["captions", "selection", "learning"]
    worker.hands.release(hold)


def test_pictures_that_take_too_long_are_given_up_with_a_sentence(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generating, "LIMIT_S", 0.3)
    job = world.generation(world.history(), "a dog", steps=500)
    with a_base_that_never_ends(worker.equipment.base):
        generate(worker, job)
    assert world.job(job).state == JobState.FAILED
    assert "were given up" in (world.job(job).error or "")
    wait_until(lambda: worker.engine.rows_waiting == 0, "the engine has left them")


def test_a_learning_that_takes_too_long_is_given_up_with_a_sentence(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "LIMIT_S", 3.0)
    history = world.history()
    job = world.learning(history, steps=1_000_000)
    learn(worker, job)
    assert world.job(job).state == JobState.FAILED
    assert "was given up" in (world.job(job).error or "")
    assert world.versions(history) == []
    assert worker.engine.turn(lambda: 42).result(60) == 42  # its turns have ended


def test_every_wait_for_the_broker_has_its_limit_and_nothing_is_acknowledged_late() -> None:
    conf = celery.conf
    assert conf.task_acks_late is False
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert conf.broker_connection_max_retries is None  # for ever: the broker may be away for long
    assert conf.broker_connection_timeout <= 5
    options = conf.broker_transport_options
    assert options["socket_connect_timeout"] <= 5
    assert options["socket_timeout"] <= 20
    assert timedelta(seconds=options["visibility_timeout"]) == timedelta(hours=1)
    assert conf.accept_content == ["json"]
    assert conf.task_ignore_result is True


def test_a_step_that_hangs_does_not_keep_a_worker_from_handing_back(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is busy with something that does not end: the last checkpoint must do."""
    monkeypatch.setattr(learning, "STOPPING_S", 0.3)
    job = world.learning(world.history(), steps=1_000_000)
    thread = threading.Thread(target=learn, args=(worker, job))
    thread.start()
    wait_until(lambda: world.job(job).checkpoint_sha256 is not None, "it is well under way")
    go_on = threading.Event()
    hangs = threading.Event()
    worker.note_learning = lambda step, rows: (hangs.set(), go_on.wait(60), step())[2]  # type: ignore[method-assign]
    assert hangs.wait(60)
    kept: list[object] = []
    monkeypatch.setattr(learning.Teaching, "_keep", lambda *_: kept.append(1))
    worker.stop()
    thread.join(60)
    go_on.set()
    assert kept == []  # it would have waited for the same step
    ended = world.job(job)
    assert (ended.state, ended.times_lost) == (JobState.QUEUED, 0)
    assert ended.checkpoint_sha256 is not None
