"""The two tasks, as the pool's threads call them."""

import pytest

from app.jobs.models import JobState
from app.queue import GENERATE, LEARN
from tests.worker.world import World
from worker import current
from worker.process import Worker
from worker.tasks import celery, generate_pictures, learn_concept


@pytest.fixture(autouse=True)
def _this_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its sweep, so that what is rung is rung by the tasks."""
    monkeypatch.setattr(current, "_worker", worker)
    worker.sweep.end()


def test_both_tasks_are_known_by_the_names_that_the_web_process_sends() -> None:
    assert {GENERATE, LEARN} <= set(celery.tasks)


def test_a_learning_makes_room_for_the_next_of_its_history(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    history = world.history()
    first, second = world.learning(history, "rex"), world.learning(history, "mugsy", "mug")
    rung.clear()
    learn_concept(str(first))
    assert world.job(first).state == JobState.DONE
    assert rung == [(LEARN, str(second))]
    assert worker.learning_slots.acquire(blocking=False)  # its own was given back


def test_without_a_free_slot_a_learning_stays_in_the_queue(worker: Worker, world: World) -> None:
    for _ in range(worker.most_learnings):
        assert worker.learning_slots.acquire(blocking=False)
    history = world.history()
    waits, picture = world.learning(history), world.generation(history, "a dog")
    learn_concept(str(waits))
    assert world.job(waits).state == JobState.QUEUED
    generate_pictures(str(picture))  # generations need no slot
    assert world.job(picture).state == JobState.DONE


def test_without_a_worker_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "_worker", None)
    with pytest.raises(RuntimeError, match="No worker was started"):
        current.worker()
