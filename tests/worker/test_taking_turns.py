"""Whose job a free hand takes: people take turns, whoever's messages come first."""

import threading
from datetime import timedelta
from uuid import UUID

import pytest

from app.jobs.claims import claim, whose_turn
from app.jobs.models import JobKind, JobState
from tests.worker.world import World
from worker import current
from worker.process import Worker
from worker.tasks import generate_pictures, learn_concept


@pytest.fixture(autouse=True)
def _this_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "_worker", worker)
    worker.sweep.end()


def take(world: World, job: UUID) -> None:
    """Somebody has it in hand."""
    with world.sessions.begin() as session:
        assert claim(session, job, "another", timedelta(minutes=1)) is not None


def states(world: World, *jobs: UUID) -> list[str]:
    return [world.job(job).state for job in jobs]


def test_who_has_nothing_in_hand_goes_before_who_has_much(worker: Worker, world: World) -> None:
    hers, his = world.history("ada"), world.history("ben")
    many = [world.generation(hers, "a dog") for _ in range(4)]
    take(world, many[0])
    one = world.generation(his, "a cat")
    generate_pictures(str(many[1]))
    assert states(world, *many[1:], one) == ["queued", "queued", "queued", "done"]
    for message in (many[2], many[3], one):  # each message still gets one done
        generate_pictures(str(message))
    assert states(world, *many[1:], one) == ["done"] * 4


def test_learnings_take_turns_too_and_keep_the_order_of_their_history(worker: Worker, world: World) -> None:
    hers = [world.history("ada", f"line {place}") for place in range(2)]
    running, waiting = world.learning(hers[0], "rex"), world.learning(hers[0], "momo", "cat")
    other = world.learning(hers[1], "zigi", "mug")
    take(world, running)
    his = world.history("ben")
    first, second = world.learning(his, "rex"), world.learning(his, "momo", "cat")
    learn_concept(str(other))
    assert states(world, waiting, other, first, second) == ["queued", "queued", "done", "queued"]


def test_of_one_persons_jobs_the_one_asked_for_first_is_next(worker: Worker, world: World) -> None:
    history = world.history()
    first, second = world.generation(history, "a dog"), world.generation(history, "a cat")
    generate_pictures(str(second))
    assert states(world, first, second) == ["done", "queued"]


def test_hands_that_ask_at_the_same_moment_each_get_one(worker: Worker, world: World) -> None:
    jobs = [world.generation(world.history(name), "a dog") for name in ("ada", "ben", "eve")]
    threads = [threading.Thread(target=generate_pictures, args=(str(job),)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states(world, *jobs) == [JobState.DONE] * 3
    assert [world.job(job).attempt for job in jobs] == [1, 1, 1]


def test_where_nothing_waits_a_message_is_nothing(worker: Worker, world: World) -> None:
    job = world.generation(world.history(), "a dog")
    generate_pictures(str(job))
    generate_pictures(str(job))
    assert world.job(job).attempt == 1
    with world.sessions() as session:
        assert whose_turn(session, JobKind.GENERATE, [world.base_id], worker.id) is None
        assert whose_turn(session, JobKind.LEARN, [world.base_id], worker.id) is None
