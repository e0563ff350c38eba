"""The worker's side of a job: who may have it, who may write to it, and what becomes of it when its worker is lost."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.blobs import Blob
from app.config import Settings
from app.db import Sessions, UnitOfWork
from app.histories.models import History
from app.jobs import claims
from app.jobs.claims import Claim, LostClaim
from app.jobs.models import Job, JobEvent, JobKind, JobState
from app.jobs.service import cancel, retry
from app.queue import GENERATE, LEARN
from tests.app import make

LEASE = timedelta(seconds=30)
CHECKPOINT = "c" * 64


@pytest.fixture
def session(sessions: Sessions) -> Iterator[Session]:
    with sessions() as made:
        yield made


@pytest.fixture
def history(session: Session) -> History:
    return make.history(session, make.user(session))


@pytest.fixture
def job(session: Session, history: History) -> Job:
    return make.learning(session, history)


def generation(session: Session, history: History) -> Job:
    made = Job(owner_id=history.owner_id, history_id=history.id, kind=JobKind.GENERATE.value)
    session.add(made)
    session.commit()
    return made


def take(session: Session, job: Job, worker: str = "one") -> Claim | None:
    got = claims.claim(session, job.id, worker, LEASE)
    session.commit()
    return got


def take_surely(session: Session, job: Job, worker: str = "one") -> Claim:
    got = take(session, job, worker)
    assert got is not None
    return got


def let_lease_run_out(session: Session, job: Job) -> None:
    session.execute(text("UPDATE jobs SET lease_until = now() - interval '1 second' WHERE id = :id"), {"id": job.id})
    session.commit()


def sweep(session: Session) -> None:
    claims.take_back_expired(session)
    session.commit()


def events(session: Session, job_id: UUID) -> list[tuple[str, Any]]:
    rows = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id))
    return [(row.kind, row.data.get("state", row.data.get("step"))) for row in rows]


def reload(session: Session, job: Job) -> Job:
    session.expire_all()
    return session.get_one(Job, job.id)


def keep_a_checkpoint(session: Session, claim: Claim, *, is_further: bool = False) -> None:
    session.merge(Blob(sha256=CHECKPOINT, size_bytes=1, media_type="x/y"))
    session.flush()
    claims.keep_checkpoint(session, claim, CHECKPOINT, is_further=is_further)
    session.commit()


# --- taking --------------------------------------------------------------------------------------------------------


def test_a_job_is_taken_once(session: Session, job: Job) -> None:
    first = take_surely(session, job)
    assert first.attempt == 1
    assert take(session, job, "two") is None
    now = reload(session, job)
    assert (now.state, now.worker, now.started_at is not None) == ("running", "one", True)
    assert events(session, job.id) == [("state", "running")]


def test_a_job_that_is_not_there_is_not_taken(session: Session) -> None:
    assert claims.claim(session, UUID(int=7), "one", LEASE) is None


@pytest.mark.parametrize("kind", ["learn", "generate"])
def test_of_many_workers_that_ask_at_once_one_gets_it(sessions: Sessions, history: History, kind: str) -> None:
    with sessions() as session:
        job = make.learning(session, history) if kind == "learn" else generation(session, history)
    workers, together = 8, threading.Barrier(8)

    def ask(number: int) -> Claim | None:
        with sessions() as own:
            together.wait()
            got = claims.claim(own, job.id, f"worker {number}", LEASE)
            own.commit()
            return got

    with ThreadPoolExecutor(workers) as pool:
        got = [claim for claim in pool.map(ask, range(workers)) if claim]
    assert [claim.attempt for claim in got] == [1]
    with sessions() as session:
        assert events(session, job.id) == [("state", "running")]


def test_a_claim_that_is_not_committed_takes_nothing(session: Session, job: Job) -> None:
    assert claims.claim(session, job.id, "one", LEASE) is not None
    session.rollback()
    assert reload(session, job).state == "queued"
    assert take_surely(session, job, "two").attempt == 1


# --- learnings of one history --------------------------------------------------------------------------------------


def test_learnings_of_a_history_run_one_after_another_as_they_were_asked_for(
    session: Session, history: History
) -> None:
    first, second = make.learning(session, history, "rex"), make.learning(session, history, "momo")
    assert take(session, second) is None
    held = take_surely(session, first)
    assert take(session, second) is None
    claims.end(session, held, JobState.DONE)
    session.commit()
    assert take(session, second) is not None


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_learning_that_ended_badly_holds_nobody_up(session: Session, history: History, state: JobState) -> None:
    first, second = make.learning(session, history, "rex"), make.learning(session, history, "momo")
    claims.end(session, take_surely(session, first), state, "No.")
    session.commit()
    assert take(session, second) is not None


def test_a_learning_that_is_tried_again_waits_for_the_one_that_runs(sessions: Sessions, history: History) -> None:
    """It keeps its place, which is before the other's; two at a time would both start from the same version."""
    with sessions() as session:
        first, second = make.learning(session, history, "rex"), make.learning(session, history, "momo")
        claims.end(session, take_surely(session, first), JobState.FAILED, "No.")
        session.commit()
        running = take_surely(session, second)
        retry(UnitOfWork(sessions, lambda *_args, **_kwargs: None), Settings(), history.owner_id, first.id)
        assert take(session, first) is None
        assert claims.ready(session) == []
        claims.end(session, running, JobState.DONE)
        session.commit()
        assert take(session, first) is not None


def test_other_histories_and_generations_wait_for_no_learning(session: Session, history: History) -> None:
    other = make.history(session, make.user(session, "bob"))
    assert take(session, make.learning(session, history)) is not None
    assert take(session, make.learning(session, other)) is not None
    assert take(session, generation(session, history)) is not None
    assert take(session, generation(session, history)) is not None


def test_two_learnings_of_one_history_claimed_at_once_never_run_together(sessions: Sessions, history: History) -> None:
    with sessions() as session:
        jobs = [make.learning(session, history, f"c{number}").id for number in range(4)]
    together = threading.Barrier(4)

    def ask(job_id: UUID) -> UUID | None:
        with sessions() as own:
            together.wait()
            got = claims.claim(own, job_id, "someone", LEASE)
            own.commit()
            return got.job_id if got else None

    with ThreadPoolExecutor(4) as pool:
        assert [job_id for job_id in pool.map(ask, jobs) if job_id] == [jobs[0]]


# --- writing -------------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Session, Claim], object]] = {
    "renew": lambda session, claim: claims.renew(session, claim, LEASE),
    "report": lambda session, claim: claims.report(session, claim, stage="learning", step=1, steps_total=2),
    "keep_checkpoint": lambda session, claim: claims.keep_checkpoint(session, claim, CHECKPOINT),
    "end": lambda session, claim: claims.end(session, claim, JobState.DONE),
    "hand_back": claims.hand_back,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_whoever_lost_a_job_writes_nothing_to_it(
    session: Session, job: Job, write: Callable[[Session, Claim], object]
) -> None:
    late = take_surely(session, job)
    let_lease_run_out(session, job)
    sweep(session)
    theirs = take_surely(session, job, "two")
    before = events(session, job.id)
    with pytest.raises(LostClaim):
        write(session, late)
    session.rollback()
    after = reload(session, job)
    assert (after.state, after.worker, after.attempt) == ("running", "two", theirs.attempt)
    assert events(session, job.id) == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_nobody_writes_to_a_job_that_has_ended(
    session: Session, job: Job, write: Callable[[Session, Claim], object]
) -> None:
    held = take_surely(session, job)
    claims.end(session, held, JobState.DONE)
    session.commit()
    with pytest.raises(LostClaim):
        write(session, held)


def test_a_heartbeat_moves_the_lease_and_tells_that_somebody_wants_it_to_end(sessions: Sessions, job: Job) -> None:
    with sessions() as session:
        held = take_surely(session, job)
        let_lease_run_out(session, job)
        assert claims.renew(session, held, LEASE) is False
        session.commit()
        sweep(session)
        assert reload(session, job).state == "running"
        cancel(UnitOfWork(sessions, lambda *_args, **_kwargs: None), job.owner_id, job.id)
        assert claims.renew(session, held, LEASE) is True


def test_progress_is_kept_and_told(session: Session, job: Job) -> None:
    held = take_surely(session, job)
    progress = {"losses": [[1, 0.5]], "seconds_left": 12.5}
    claims.report(session, held, stage="learning", step=3, steps_total=9, progress=progress)
    session.commit()
    claims.report(session, held, stage="diagnosis", step=0, steps_total=0)
    session.commit()
    now = reload(session, job)
    assert (now.stage, now.step, now.progress) == ("diagnosis", 0, progress)
    told = session.scalars(select(JobEvent).where(JobEvent.kind == "progress").order_by(JobEvent.id)).all()
    assert told[0].data == {"stage": "learning", "step": 3, "steps_total": 9, "seconds_left": 12.5}


# --- ending --------------------------------------------------------------------------------------------------------


def test_a_job_that_ends_holds_no_lease_and_no_checkpoint(session: Session, job: Job) -> None:
    held = take_surely(session, job)
    keep_a_checkpoint(session, held)
    claims.end(session, held, JobState.FAILED, "The pictures could not be read.")
    session.commit()
    now = reload(session, job)
    assert (now.state, now.error) == ("failed", "The pictures could not be read.")
    assert now.lease_until is None
    assert now.checkpoint_sha256 is None
    assert now.finished_at is not None
    assert events(session, job.id)[-1] == ("state", "failed")


def test_a_job_that_is_handed_back_can_go_on_from_its_checkpoint_and_nothing_is_counted(
    session: Session, job: Job
) -> None:
    held = take_surely(session, job)
    keep_a_checkpoint(session, held)
    claims.hand_back(session, held)
    session.commit()
    now = reload(session, job)
    assert (now.state, now.worker, now.lease_until, now.times_lost) == ("queued", None, None, 0)
    assert now.checkpoint_sha256 == CHECKPOINT
    assert take_surely(session, job, "two").attempt == 2


# --- lost workers --------------------------------------------------------------------------------------------------


def test_a_job_whose_worker_fell_silent_goes_back_into_the_queue(session: Session, job: Job) -> None:
    held = take_surely(session, job)
    keep_a_checkpoint(session, held)
    started = reload(session, job).started_at
    sweep(session)
    assert reload(session, job).state == "running"
    let_lease_run_out(session, job)
    sweep(session)
    now = reload(session, job)
    assert (now.state, now.times_lost, now.checkpoint_sha256) == ("queued", 1, CHECKPOINT)
    take_surely(session, job, "two")
    assert reload(session, job).started_at == started


def test_a_job_that_loses_its_worker_too_often_and_comes_no_further_fails_with_a_sentence(
    session: Session, job: Job
) -> None:
    """Its checkpoint stays: whoever tries it again loses nothing."""
    for _ in range(job.max_attempts):
        keep_a_checkpoint(session, take_surely(session, job))
        let_lease_run_out(session, job)
        sweep(session)
    now = reload(session, job)
    assert now.state == "failed"
    assert now.error == claims.GIVEN_UP % 3
    assert now.finished_at is not None
    assert now.checkpoint_sha256 == CHECKPOINT
    assert events(session, job.id)[-1] == ("state", "failed")
    assert take(session, job) is None


def test_losses_count_from_nothing_whenever_a_job_has_come_further(session: Session, job: Job) -> None:
    """One that takes a day outlives any number of workers, as long as it gets on."""
    for _ in range(2 * job.max_attempts):
        keep_a_checkpoint(session, take_surely(session, job), is_further=True)
        let_lease_run_out(session, job)
        sweep(session)
        assert (reload(session, job).state, reload(session, job).times_lost) == ("queued", 1)


def test_a_job_that_was_to_be_cancelled_ends_when_its_worker_is_lost(sessions: Sessions, job: Job) -> None:
    with sessions() as session:
        keep_a_checkpoint(session, take_surely(session, job))
        cancel(UnitOfWork(sessions, lambda *_args, **_kwargs: None), job.owner_id, job.id)
        let_lease_run_out(session, job)
        sweep(session)
        assert (reload(session, job).state, reload(session, job).checkpoint_sha256) == ("cancelled", None)


def test_trying_again_counts_losses_from_nothing(sessions: Sessions, job: Job) -> None:
    with sessions() as session:
        for _ in range(job.max_attempts):
            take_surely(session, job)
            let_lease_run_out(session, job)
            sweep(session)
        retry(UnitOfWork(sessions, lambda *_args, **_kwargs: None), Settings(), job.owner_id, job.id)
        assert take_surely(session, job).attempt == job.max_attempts + 1
        let_lease_run_out(session, job)
        sweep(session)
        assert (reload(session, job).state, reload(session, job).times_lost) == ("queued", 1)


def test_several_sweeps_at_once_count_a_loss_once(sessions: Sessions, job: Job) -> None:
    with sessions() as session:
        take_surely(session, job)
        let_lease_run_out(session, job)
    together = threading.Barrier(4)

    def sweep_too(_number: int) -> None:
        with sessions() as own:
            together.wait()
            sweep(own)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sweep_too, range(4)))
    with sessions() as session:
        assert session.get_one(Job, job.id).times_lost == 1
        assert events(session, job.id) == [("state", "running"), ("state", "queued")]


# --- what a sweep rings for ----------------------------------------------------------------------------------------


def test_what_could_be_claimed_now_is_ready_the_oldest_first(session: Session, history: History) -> None:
    learning, later = make.learning(session, history, "rex"), make.learning(session, history, "momo")
    picture = generation(session, history)
    assert claims.ready(session) == [(learning.id, LEARN), (picture.id, GENERATE)]
    held = take_surely(session, learning)
    assert claims.ready(session) == [(picture.id, GENERATE)]
    claims.end(session, held, JobState.DONE)
    session.commit()
    assert claims.ready(session) == [(later.id, LEARN), (picture.id, GENERATE)]


def test_what_was_asked_for_a_moment_ago_has_its_message_still(session: Session, job: Job) -> None:
    assert claims.ready(session, timedelta(minutes=1)) == []


def test_open_jobs_are_those_that_wait_or_run(session: Session, history: History) -> None:
    assert claims.open_jobs_of(session, history.owner_id) == 0
    first, _second = generation(session, history), generation(session, history)
    held = take_surely(session, first)
    assert claims.open_jobs_of(session, history.owner_id) == 2
    claims.end(session, held, JobState.DONE)
    session.commit()
    assert claims.open_jobs_of(session, history.owner_id) == 1


# --- what the database itself forbids ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("state = 'lost'", "ck_jobs_state_known"),
        ("kind = 'dream'", "ck_jobs_kind_known"),
        ("state = 'running'", "ck_jobs_lease_while_running"),
        ("lease_until = now()", "ck_jobs_lease_while_running"),
        ("concept_id = NULL", "ck_jobs_learning_has_concept"),
    ],
)
def test_a_state_that_cannot_be_is_refused_by_the_table(
    session: Session, job: Job, change: str, constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job.id})  # noqa: S608 - words above
