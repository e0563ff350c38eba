"""Leases, the sweep, and what a worker says of itself."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import torch
from sqlalchemy import func, insert, select, text, update

from app.config import Settings
from app.histories.models import BaseModelRow
from app.jobs.claims import claim
from app.jobs.models import LANE, Job, JobKind, JobState, WorkerRow
from app.queue import GENERATE, LEARN
from cns.compose import compose
from cns.export import export_diffusers
from cns.settings import LearningSettings
from tests.cns.test_compose import make_delta
from tests.worker.processes import PATIENCE_S, wait_until
from tests.worker.world import World
from worker import sweep
from worker.equipment import Equipment, load_equipment
from worker.learning import learn
from worker.process import Worker
from worker.sweep import Sweep


class Clock:
    """That of a machine which sleeps after the first look at the clock on its wall; the other one stands still."""

    def __init__(self, slept_s: float):
        self._wall, self.monotonic_s = [0.0, slept_s], 0.0

    def time(self) -> float:
        return self._wall.pop(0) if len(self._wall) > 1 else self._wall[0]

    def monotonic(self) -> float:
        return self.monotonic_s


def taken_by_a_dead_worker(world: World, job: UUID, times_lost: int = 0) -> None:
    with world.sessions.begin() as session:
        assert claim(session, job, "dead:1:0", timedelta(seconds=0)) is not None
        session.execute(update(Job).where(Job.id == job).values(times_lost=times_lost))


def test_what_a_dead_worker_held_is_taken_back_and_rung_for(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    job = world.learning(world.history())
    taken_by_a_dead_worker(world, job)
    wait_until(lambda: world.job(job).state == JobState.QUEUED, "the sweep has taken it back")
    assert world.job(job).times_lost == 1
    rung.clear()  # it may have been rung for before it was taken
    wait_until(lambda: (LEARN, str(job)) in rung, "the sweep has rung for it")
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


def test_learnings_are_rung_for_however_many_generations_wait_before_them(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    worker.sweep.end()
    history = world.history()
    with world.sessions.begin() as session:
        one = {"owner_id": world.user("ada"), "history_id": history, "kind": JobKind.GENERATE.value}
        session.execute(insert(Job), [one] * 1001)
    learning = world.learning(world.history("ben"))
    rung.clear()
    worker.sweep.ring(kinds=LANE)
    assert rung == [(LEARN, str(learning))]
    worker.sweep.ring()
    assert Counter(task for task, _ in rung) == {LEARN: 2, GENERATE: worker.settings.worker_threads}


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


@contextmanager
def locked(world: World, job: UUID) -> Iterator[None]:
    """Somebody has written to the row of a job and does not come to an end."""
    with world.sessions.begin() as session:
        session.execute(select(Job.id).where(Job.id == job).with_for_update())
        yield


def test_a_job_whose_row_is_locked_keeps_no_other_lease_from_being_renewed(worker: Worker, world: World) -> None:
    jobs = [world.generation(world.history(name=f"user {place}"), "a dog") for place in range(3)]
    holds = [worker.hands.take(job, "generate") for job in jobs]
    first = {}

    def moved_on(job: UUID) -> bool:
        before, now = first[job], world.job(job).lease_until
        return before is not None and now is not None and now > before

    with locked(world, jobs[0]):
        first = {job: world.job(job).lease_until for job in jobs}
        wait_until(lambda: all(moved_on(job) for job in jobs[1:]), "the leases of the others are renewed")
        assert not moved_on(jobs[0])
    wait_until(lambda: moved_on(jobs[0]), "it is asked for again")
    for hold in holds:
        assert hold is not None
        worker.hands.release(hold)


def test_a_job_that_somebody_is_just_writing_to_is_left_to_the_next_sweep(worker: Worker, world: World) -> None:
    """Whoever dies loses the lock with the connection, so that nothing is left lying for long."""
    worker.sweep.end()
    jobs = [world.generation(world.history(name=f"user {place}"), "a dog") for place in range(2)]
    for job in jobs:
        taken_by_a_dead_worker(world, job)
    with locked(world, jobs[0]):
        worker.sweep.once()
        assert [world.job(job).state for job in jobs] == [JobState.RUNNING, JobState.QUEUED]
    worker.sweep.once()
    assert world.job(jobs[0]).state == JobState.QUEUED


def let_lease_run_out(world: World, job: UUID) -> None:
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(lease_until=func.now() - timedelta(hours=1)))


def test_a_worker_that_was_stopped_for_longer_than_a_lease_keeps_what_it_has_in_hand(
    worker: Worker, world: World
) -> None:
    """Its own sweep may be the first to wake up."""
    worker.sweep.end()
    worker.hands.end()
    job = world.learning(world.history())
    hold = worker.hands.take(job, "learn")
    assert hold is not None
    let_lease_run_out(world, job)
    worker.sweep.once()
    assert (world.job(job).state, world.job(job).times_lost) == (JobState.RUNNING, 0)
    worker.hands.release(hold)


def test_after_a_pause_of_the_machine_everybody_may_renew_their_leases_first(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep sees by the clock on the wall that it overslept."""
    worker.sweep.end()
    slept, swept = Clock(worker.settings.lease_s), threading.Event()
    monkeypatch.setattr(sweep, "time", slept)
    job = world.learning(world.history())
    taken_by_a_dead_worker(world, job)
    woken = Sweep(worker)

    def once(older_than: timedelta = timedelta(0)) -> None:
        Sweep.once(woken, older_than)
        swept.set()

    monkeypatch.setattr(woken, "once", once)
    woken.start()
    assert swept.wait(PATIENCE_S)
    assert world.job(job).state == JobState.RUNNING
    slept.monotonic_s += worker.settings.lease_s
    wait_until(lambda: world.job(job).state == JobState.QUEUED, "a lease's time has passed")
    woken.end()


def test_a_worker_says_what_it_is_and_what_it_holds(worker: Worker, world: World) -> None:
    job = world.learning(world.history())
    hold = worker.hands.take(job, "learn")
    assert hold is not None

    def row() -> WorkerRow:
        with world.sessions() as session:
            return session.scalars(select(WorkerRow)).one()

    wait_until(lambda: row().holds["jobs"] == [str(job)], "it has reported")
    expected = "cpu" if worker.settings.device == "cpu" else torch.cuda.get_device_name(worker.settings.device)[:60]
    assert (row().id, row().device, row().base_id) == (worker.id, expected, world.base_id)
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


def test_a_base_that_was_exported_with_concepts_says_which_tokens_it_knows(
    equipment: Equipment, tmp_path: Path
) -> None:
    base = equipment.base
    version = compose(base, [make_delta(base, "rex", seed=1)])
    exported = load_equipment(Settings(base_model=str(export_diffusers(base, version, tmp_path / "out")), device="cpu"))
    assert exported.facts()["own_tokens"] == ["rex"]
    assert equipment.facts()["own_tokens"] == []


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
