"""Whose job a free hand takes: people take turns, whoever's messages come first."""

import threading
from datetime import timedelta
from uuid import UUID

import pytest

from app.jobs.claims import Claim, claim, end, whose_turn
from app.jobs.models import JobKind, JobState
from app.queue import GENERATE, LEARN
from tests.worker.test_forgetting import ask as ask_to_forget
from tests.worker.world import World
from worker import current
from worker.process import Worker
from worker.tasks import do_next, forget_concept, generate_pictures, learn_concept


@pytest.fixture(autouse=True)
def _this_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "_worker", worker)
    worker.sweep.end()


def take(world: World, job: UUID, worker: str = "another") -> Claim:
    """Somebody has it in hand."""
    with world.sessions.begin() as session:
        taken = claim(session, job, worker, timedelta(minutes=1))
    assert taken is not None
    return taken


def finish(world: World, taken: Claim) -> None:
    with world.sessions.begin() as session:
        end(session, taken, JobState.DONE)


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


def test_who_asked_for_much_before_others_came_takes_turns_with_them(worker: Worker, world: World) -> None:
    """Also where a hand comes free when nobody has anything in hand."""
    hers, his = world.history("ada"), world.history("ben")
    owners = {world.generation(hers, "a dog"): "ada" for _ in range(4)}
    owners |= {world.generation(his, "a cat"): "ben" for _ in range(2)}
    turns = []
    for _ in owners:
        with world.sessions() as session:
            job = whose_turn(session, [JobKind.GENERATE], [world.base_id], worker.id)
        assert job is not None
        turns.append(owners[job])
        finish(world, take(world, job))
    assert turns == ["ada", "ben", "ada", "ben", "ada", "ada"]


def test_learnings_and_forgettings_take_turns_with_each_other(worker: Worker, world: World) -> None:
    """A forgetting whose message was lost waits for no learning that was asked for after it."""
    his = world.history("ben")
    finish(world, take(world, world.learning(his, "rex")))
    hers = world.history("ada")
    finish(world, take(world, world.learning(hers, "rex")))
    forgotten, learning = ask_to_forget(world, his, "rex"), world.learning(hers, "momo", "cat")
    learn_concept(str(learning))
    assert states(world, forgotten, learning) == ["failed", "queued"]  # as no version knows it
    forget_concept(str(forgotten))
    assert states(world, learning) == ["done"]


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
        assert whose_turn(session, [JobKind.GENERATE], [world.base_id], worker.id) is None
        assert whose_turn(session, [JobKind.LEARN], [world.base_id], worker.id) is None


# --- how much one person may have in hand --------------------------------------------------------------------------


def generations_in_hand(worker: Worker, world: World) -> list[Claim]:
    """As many of ada's as one may have in hand."""
    hers = world.history("ada", "in hand")
    many = [world.generation(hers, "a dog") for _ in range(worker.most_of_one[JobKind.GENERATE])]
    return [take(world, job, worker.id) for job in many]


def learnings_in_hand(worker: Worker, world: World) -> list[Claim]:
    lines = [world.history("ada", f"in hand {place}") for place in range(worker.most_of_one[JobKind.LEARN])]
    return [take(world, world.learning(line, "rex"), worker.id) for line in lines]


def test_there_is_always_a_hand_left_that_no_one_person_can_take(worker: Worker) -> None:
    of_one, hands = worker.most_of_one, worker.settings.worker_threads
    assert of_one[JobKind.LEARN] == of_one[JobKind.FORGET] == worker.most_learnings - 1
    assert of_one[JobKind.GENERATE] == 0.75 * hands
    assert of_one[JobKind.GENERATE] + of_one[JobKind.LEARN] < hands


def test_one_person_cannot_take_every_hand(worker: Worker, world: World) -> None:
    """With each on a generation of an hour, none would come free for anybody else."""
    held = generations_in_hand(worker, world)
    more, his = world.generation(world.history("ada"), "a dog"), world.generation(world.history("ben"), "a cat")
    for message in (more, more, his):
        generate_pictures(str(message))
    assert states(world, more, his) == ["queued", "done"]
    finish(world, held[0])
    generate_pictures(str(more))
    assert states(world, more) == ["done"]


def test_one_person_cannot_take_every_place_for_learnings(worker: Worker, world: World) -> None:
    held = learnings_in_hand(worker, world)
    more, his = world.learning(world.history("ada"), "rex"), world.learning(world.history("ben"), "rex")
    for message in (more, more, his):
        learn_concept(str(message))
    assert states(world, more, his) == ["queued", "done"]
    finish(world, held[0])
    learn_concept(str(more))
    assert states(world, more) == ["done"]


def test_generations_and_learnings_of_one_person_are_no_bound_to_each_other(worker: Worker, world: World) -> None:
    generations_in_hand(worker, world)
    learning = world.learning(world.history("ada"), "rex")
    learn_concept(str(learning))
    assert states(world, learning) == ["done"]


def test_what_one_has_in_hand_elsewhere_is_no_bound_here(worker: Worker, world: World) -> None:
    hers = world.history("ada")
    for _ in range(worker.settings.worker_threads):
        take(world, world.generation(hers, "a dog"), "another")
    job = world.generation(hers, "a cat")
    generate_pictures(str(job))
    assert states(world, job) == ["done"]


def test_a_hand_that_came_too_late_for_every_turn_takes_no_more_than_its_owner_may_have(
    worker: Worker, world: World
) -> None:
    """As a last resort it takes the job that its message is about."""
    held = generations_in_hand(worker, world)
    more, his = world.generation(world.history("ada"), "a dog"), world.generation(world.history("ben"), "a cat")
    tried: list[UUID] = []

    def come_too_late(_worker: Worker, job: UUID) -> bool:
        tried.append(job)
        return False

    assert do_next(worker, [JobKind.GENERATE], more, come_too_late) is False
    assert set(tried) == {his}
    finish(world, held[0])
    do_next(worker, [JobKind.GENERATE], more, come_too_late)
    assert tried[-1] == more


def test_when_a_job_ends_its_owners_next_is_rung_for(worker: Worker, world: World, rung: list[tuple[str, str]]) -> None:
    """Its own message came while they had enough in hand, and is gone."""
    held, hers = generations_in_hand(worker, world), world.history("ada")
    more, last = world.generation(hers, "a cat"), world.generation(hers, "a dog")
    generate_pictures(str(last))
    assert (states(world, more, last), rung) == (["queued"] * 2, [])
    finish(world, held[0])
    generate_pictures(str(more))
    assert (states(world, more, last), rung) == (["done", "queued"], [(GENERATE, str(last))])
    generate_pictures(str(last))
    assert (states(world, last), len(rung)) == (["done"], 1)


def test_the_sweep_rings_for_nobody_who_has_enough_in_hand_here(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    generating, learning = generations_in_hand(worker, world), learnings_in_hand(worker, world)
    hers, his = world.history("ada"), world.history("ben")
    picture, lesson = world.generation(hers, "a dog"), world.learning(hers, "rex")
    theirs = {(GENERATE, str(world.generation(his, "a cat"))), (LEARN, str(world.learning(his, "rex")))}
    worker.sweep.ring()
    assert set(rung) == theirs
    for taken in (generating[0], learning[0]):
        finish(world, taken)
    rung.clear()
    worker.sweep.ring()
    assert set(rung) == {(GENERATE, str(picture)), (LEARN, str(lesson)), *theirs}
