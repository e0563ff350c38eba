"""Leases, the sweep, and what a worker says of itself."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, text, update

from app.histories.models import BaseModelRow
from app.jobs.claims import claim
from app.jobs.models import Job, JobState, WorkerRow
from app.queue import GENERATE, LEARN
from cns.settings import LearningSettings
from tests.worker.processes import wait_until
from tests.worker.world import World
from worker.learning import learn
from worker.process import Worker


def taken_by_a_dead_worker(world: World, job: UUID, times_lost: int = 0) -> None:
    with world.sessions.begin() as session:
        assert claim(session, job, "dead:1:0", timedelta(seconds=0)) is not None
        session.execute(update(Job).where(Job.id == job).values(times_lost=times_lost))


def test_what_a_dead_worker_held_is_taken_back_and_rung_for(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    job = world.learning(world.history())
    taken_by_a_dead_worker(world, job)
    wait_until(lambda: (LEARN, str(job)) in rung, "the sweep has rung for it")
    assert (world.job(job).state, world.job(job).times_lost) == (JobState.QUEUED, 1)
    learn(worker, job)
    assert world.job(job).state == JobState.DONE


def test_a_job_that_was_lost_too_often_fails_with_the_reason(worker: Worker, world: World) -> None:
    job = world.learning(world.history())
    taken_by_a_dead_worker(world, job, times_lost=2)
    wait_until(lambda: world.job(job).state == JobState.FAILED, "the sweep has given it up")
    assert "lost 3 times" in (world.job(job).error or "")


def test_nobody_rings_for_more_than_there_are_hands(worker: Worker, world: World, rung: list[tuple[str, str]]) -> None:
    history = world.history()
    worker.sweep.end()
    for _ in range(worker.settings.worker_threads + 5):
        world.generation(history, "a dog")
    rung.clear()
    worker.sweep.once()
    assert len(rung) == worker.settings.worker_threads


def test_one_learning_of_a_history_is_rung_for_and_few_of_all(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    worker.sweep.end()
    history = world.history()
    first = [world.learning(history, name) for name in ("rex", "mugsy")]
    for place in range(worker.most_learnings + 2):
        world.learning(world.history(name=f"more {place}"))
    world.generation(world.history(name="last"), "a dog")
    rung.clear()
    worker.sweep.once()
    assert (LEARN, str(first[0])) in rung
    assert (LEARN, str(first[1])) not in rung
    assert [task for task, _ in rung].count(LEARN) == worker.most_learnings
    assert [task for task, _ in rung].count(GENERATE) == 1


def test_a_young_job_is_left_to_its_own_message(worker: Worker, world: World, rung: list[tuple[str, str]]) -> None:
    worker.sweep.end()
    world.generation(world.history(), "a dog")
    rung.clear()
    worker.sweep.once(older_than=timedelta(minutes=1))
    assert rung == []


def test_the_lease_of_what_is_in_hand_moves_on(worker: Worker, world: World) -> None:
    job = world.learning(world.history())
    hold = worker.hands.take(job, "learn")
    assert hold is not None
    first = world.job(job).lease_until
    assert first is not None
    wait_until(lambda: (world.job(job).lease_until or first) > first, "a heartbeat has come")
    worker.hands.release(hold)


def test_a_worker_says_what_it_is_and_what_it_holds(worker: Worker, world: World) -> None:
    job = world.learning(world.history())
    hold = worker.hands.take(job, "learn")
    assert hold is not None

    def row() -> WorkerRow:
        with world.sessions() as session:
            return session.scalars(select(WorkerRow)).one()

    wait_until(lambda: row().holds["jobs"] == [str(job)], "it has reported")
    assert (row().id, row().device, row().base_id) == (worker.id, "cpu", world.base_id)
    assert (row().holds["learnings"], row().holds["generations"]) == (1, 0)
    assert row().holds["memory_bytes"] > 0
    worker.hands.release(hold)


def test_the_base_says_what_pages_need_to_know(worker: Worker, world: World) -> None:
    learn(worker, world.learning(world.history()))
    worker.hands.on_beat()
    with world.sessions() as session:
        row = session.get_one(BaseModelRow, world.base_id)
    assert (row.facts["native_px"], row.facts["size_step_px"], row.facts["pixelated"]) == (16, 4, True)
    assert row.facts["learning"]["steps"] == LearningSettings().steps
    assert row.facts["seconds_per_step"]["learning"] > 0


def test_a_worker_that_ends_in_order_is_forgotten_at_once_and_a_silent_one_in_time(
    worker: Worker, world: World
) -> None:
    with world.sessions.begin() as session:
        for name in ("silent", "lately"):
            session.add(WorkerRow(id=name, device="cpu", holds={}))
        session.flush()
        session.execute(
            update(WorkerRow).where(WorkerRow.id == "silent").values(seen_at=func.now() - timedelta(hours=2))
        )
    worker.sweep.once()
    worker.close()
    with world.sessions() as session:
        assert session.scalars(select(WorkerRow.id)).all() == ["lately"]


def test_a_database_that_restarts_under_a_job_is_waited_for(worker: Worker, world: World) -> None:
    """Every connection is cut in the middle of a learning, as a restart does."""
    history = world.history()
    job = world.learning(history, steps=40)
    cut = 0

    def cut_all() -> None:
        nonlocal cut
        with world.sessions() as session:
            cut += len(
                session.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                        "AND datname = current_database()"
                    )
                ).all()
            )

    original = worker.note_learning
    worker.note_learning = lambda step, rows: (cut_all() if cut == 0 else None, original(step, rows))[1]  # type: ignore[method-assign]
    learn(worker, job)
    assert cut > 0
    assert world.job(job).state == JobState.DONE
    assert len(world.versions(history)) == 1
