"""The worker's side of a job: claim it, keep it, report, and end it, each by one conditional update.

Every write but the claim carries the attempt that the claim gave. A worker that lost its lease writes nothing any
more: its attempt no longer matches, and `LostClaim` tells it to drop what it holds.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Subquery, and_, exists, func, or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session, aliased

from app.histories.models import History
from app.jobs.models import LANE, OPEN, Job, JobEvent, JobKind, JobState
from app.queue import TASK_OF

# A worker with a free hand takes what is kept for it within milliseconds. One that is busy or dead costs this much.
KEPT_FOR = timedelta(seconds=0.5)
GIVEN_UP = "The worker was lost %s times while it ran this job. Try again; if it happens again, tell an administrator."


class LostClaim(Exception):
    """Somebody else has this job now, or it was ended: drop it."""


class CancelCameFirst(Exception):
    """Its user asked to cancel it before it was done: what was made of it is not published."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, until its lease runs out. attempt: the fencing token."""

    job_id: UUID
    attempt: int


def claim(session: Session, job_id: UUID, worker: str, lease: timedelta) -> Claim | None:
    """Take a queued job. None when it is not queued, or another of its history comes first.

    To be committed by the caller.
    """
    job = session.get(Job, job_id)
    if job is None:
        return None
    if job.kind in LANE:
        _lock_lane(session, job.history_id)
    attempt = session.scalar(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.QUEUED, ~_waits_for_another())
        .values(
            state=JobState.RUNNING.value,
            attempt=Job.attempt + 1,
            worker=worker,
            lease_until=func.clock_timestamp() + lease,
            started_at=func.coalesce(Job.started_at, func.now()),
        )
        .returning(Job.attempt)
        .execution_options(synchronize_session=False)
    )
    if attempt is None:
        return None
    _tell(session, job_id, "state", state=JobState.RUNNING.value, attempt=attempt)
    return Claim(job_id, attempt)


def _lock_lane(session: Session, history_id: UUID) -> None:
    """Learnings and forgettings of one history are claimed one at a time; the lock is given back by the commit."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(history_id), 0))))


def _waits_for_another() -> Any:
    """Whether a job makes versions and its history has one that runs, or one that waits and was asked for before it.

    One that runs may have been asked for later: a job that is tried again keeps its place in the order.
    """
    other, lane = aliased(Job), [kind.value for kind in LANE]
    waits_before = and_(other.state == JobState.QUEUED.value, other.sequence < Job.sequence)
    return and_(
        Job.kind.in_(lane),
        exists().where(
            other.history_id == Job.history_id,
            other.kind.in_(lane),
            other.id != Job.id,
            or_(other.state == JobState.RUNNING.value, waits_before),
        ),
    )


def _held(claim: Claim) -> Any:
    return and_(Job.id == claim.job_id, Job.attempt == claim.attempt, Job.state == JobState.RUNNING.value)


def _change(session: Session, claim: Claim, **values: Any) -> None:
    changed: CursorResult[Any] = session.execute(  # type: ignore[assignment]
        update(Job).where(_held(claim)).values(**values).execution_options(synchronize_session=False)
    )
    if changed.rowcount != 1:
        raise LostClaim(f"Attempt {claim.attempt} of job {claim.job_id} is over.")


def _tell(session: Session, job_id: UUID, kind: str, **data: Any) -> None:
    session.add(JobEvent(job_id=job_id, kind=kind, data=data))


def renew(session: Session, claim: Claim, lease: timedelta) -> bool:
    """The heartbeat: move the lease on. Returns whether the user asked to cancel. LostClaim when it is ours no more.

    By the clock as it is, and not as it was when the transaction began: where the database stood still between the two,
    the lease would be over as soon as it is written.
    """
    asked = session.scalar(
        update(Job)
        .where(_held(claim))
        .values(lease_until=func.clock_timestamp() + lease)
        .returning(Job.cancel_requested)
        .execution_options(synchronize_session=False)
    )
    if asked is None:
        raise LostClaim(f"Attempt {claim.attempt} of job {claim.job_id} is over.")
    return asked


def check_held(session: Session, claim: Claim) -> None:
    """For writes beside the job: LostClaim when it is ours no more. It stays so until the end of the transaction."""
    if session.scalar(select(Job.id).where(_held(claim)).with_for_update(read=True)) is None:
        raise LostClaim(f"Attempt {claim.attempt} of job {claim.job_id} is over.")


def report(
    session: Session, claim: Claim, *, stage: str, step: int, steps_total: int, progress: dict[str, Any] | None = None
) -> None:
    """Note how far it has come; at most once a second, which is the caller's to see to."""
    values: dict[str, Any] = {"stage": stage, "step": step, "steps_total": steps_total}
    if progress is not None:
        values["progress"] = progress
    _change(session, claim, **values)
    seconds_left = (progress or {}).get("seconds_left")
    _tell(session, claim.job_id, "progress", stage=stage, step=step, steps_total=steps_total, seconds_left=seconds_left)


def keep_checkpoint(session: Session, claim: Claim, sha256: str, *, is_further: bool = False) -> None:
    """Name the blob that a later attempt goes on from.

    is_further: whether this attempt has come further than the one before it. Losses then count from nothing: it is not
    this job that its workers die of, and one that takes a day may well outlive several of them.
    """
    forgiven = {"times_lost": 0} if is_further else {}
    _change(session, claim, checkpoint_sha256=sha256, **forgiven)


def keep_for_publishing(session: Session, claim: Claim) -> None:
    """Before anything is published: LostClaim when it is ours no more, CancelCameFirst when it is to be cancelled.

    It stays so until the end of the transaction, in which `end` says what was published.
    """
    asked = session.scalar(select(Job.cancel_requested).where(_held(claim)).with_for_update())
    if asked is None:
        raise LostClaim(f"Attempt {claim.attempt} of job {claim.job_id} is over.")
    if asked:
        raise CancelCameFirst


def end(
    session: Session,
    claim: Claim,
    state: JobState,
    error: str | None = None,
    *,
    keeps_checkpoint: bool = False,
    **told: Any,
) -> None:
    """Done, failed or cancelled: in the same transaction as what was published, or alone.

    keeps_checkpoint: for what may well succeed when it is tried again, and then need not begin anew.
    told: what its last event says beside that, such as the version that was published.
    Done is refused by CancelCameFirst when its user wants it cancelled, though nobody has looked at the flag yet.
    """
    if state is JobState.DONE and _cancel_asked(session, claim):
        raise CancelCameFirst
    forgotten = {} if keeps_checkpoint else {"checkpoint_sha256": None}
    _change(session, claim, state=state.value, error=error, lease_until=None, finished_at=func.now(), **forgotten)
    _tell(session, claim.job_id, "state", state=state.value, error=error, **told)


def _cancel_asked(session: Session, claim: Claim) -> bool:
    """As it is until the end of the transaction: whoever cancels now waits for that."""
    return bool(session.scalar(select(Job.cancel_requested).where(_held(claim)).with_for_update()))


def hand_back(session: Session, claim: Claim) -> None:
    """A worker that stops gives its job back; nothing went wrong, so nothing is counted. The checkpoint stays.

    CancelCameFirst for one that is to be cancelled: it might wait in the queue for long, and then begin again.
    """
    if _cancel_asked(session, claim):
        raise CancelCameFirst
    _change(session, claim, state=JobState.QUEUED.value, lease_until=None, worker=None)
    _tell(session, claim.job_id, "state", state=JobState.QUEUED.value)


def take_back_expired(session: Session) -> None:
    """Jobs whose lease ran out go back into the queue; those that were lost too often fail, those cancelled end.

    One that fails so keeps its checkpoint: who tries it again loses nothing.
    One whose row somebody holds is left to the next sweep: its worker is alive, and just writing to it.
    """
    ran_out = and_(Job.state == JobState.RUNNING.value, Job.lease_until < func.now())
    ours = session.scalars(select(Job.id).where(ran_out).with_for_update(key_share=True, skip_locked=True)).all()
    if not ours:
        return
    expired = and_(Job.id.in_(ours), ran_out)  # still: what one of the outcomes changed is none of the next one's
    spent = {"lease_until": None, "worker": None, "times_lost": Job.times_lost + 1}
    given_up = {"error": func.format(GIVEN_UP, Job.times_lost + 1), "finished_at": func.now()}
    outcomes: tuple[tuple[Any, dict[str, Any]], ...] = (
        (
            Job.cancel_requested,
            {"state": JobState.CANCELLED.value, "finished_at": func.now(), "checkpoint_sha256": None},
        ),
        (Job.times_lost + 1 >= Job.max_attempts, {"state": JobState.FAILED.value, **given_up}),
        (Job.times_lost + 1 < Job.max_attempts, {"state": JobState.QUEUED.value}),
    )
    for condition, values in outcomes:
        rows = session.execute(
            update(Job)
            .where(expired, condition)
            .values(**spent, **values)
            .returning(Job.id, Job.state, Job.error)
            .execution_options(synchronize_session=False)
        ).all()
        for job_id, state, error in rows:
            _tell(session, job_id, "state", state=state, error=error)


def ready(
    session: Session,
    older_than: timedelta = timedelta(0),
    bases: Collection[str] | None = None,
    kinds: Collection[JobKind] = tuple(JobKind),
    *,
    worker: str = "",
    most_of_one: Mapping[JobKind, int] | None = None,
) -> list[tuple[UUID, str]]:
    """Queued jobs that could be claimed now and were asked for at least `older_than` ago, with their task's name.

    bases: those of histories on these base models alone; None for all. kinds: those of these kinds alone. worker,
    most_of_one: those that this worker may take, as `whose_turn` has it.
    """
    asked = select(Job.id, Job.kind).where(
        Job.state == JobState.QUEUED.value,
        Job.kind.in_([kind.value for kind in kinds]),
        Job.created_at <= func.now() - older_than,
        ~_waits_for_another(),
        *_has_room(worker, most_of_one or {}),
    )
    if bases is not None:
        asked = asked.join(History, Job.history_id == History.id).where(History.base_id.in_(bases))
    rows = session.execute(asked.order_by(Job.sequence).limit(1000)).all()
    return [(job_id, TASK_OF[kind]) for job_id, kind in rows]


def may_take(session: Session, job_id: UUID, worker: str, most_of_one: Mapping[JobKind, int]) -> bool:
    """Whether the job's owner has fewer in hand at this worker than one may have there, as `whose_turn` has it."""
    return session.scalar(select(Job.id).where(Job.id == job_id, *_has_room(worker, most_of_one))) is not None


def _has_room(worker: str, most_of_one: Mapping[JobKind, int]) -> list[Any]:
    """That the owner of a job has fewer of its kind in hand at this worker than one may. What makes versions counts as
    one kind.
    """
    other, conditions = aliased(Job), []
    for kinds in ((JobKind.GENERATE,), LANE):
        if kinds[0] in most_of_one:
            names = [kind.value for kind in kinds]
            here = and_(other.state == JobState.RUNNING.value, other.worker == worker, other.kind.in_(names))
            full = select(other.owner_id).where(here).group_by(other.owner_id)
            full = full.having(func.count() >= most_of_one[kinds[0]])
            conditions.append(or_(Job.kind.not_in(names), Job.owner_id.not_in(full)))
    return conditions


def whose_turn(
    session: Session,
    kinds: Collection[JobKind],
    bases: Collection[str],
    worker: str,
    most_of_one: Mapping[JobKind, int] | None = None,
) -> UUID | None:
    """The job of those kinds to be claimed next: of whoever has the fewest in hand now, then of whoever was served
    longest ago, then of whoever waits longest.

    So that one who asked for two hundred does not make everybody else wait for all of them, also where a hand comes
    free only now and then and all have equally much in hand. Of one owner's it is the
    one with the nearest deadline, else the one asked for first: a deadline takes nobody else's turn. What is kept for
    another worker than this one is left to it, for as long as KEPT_FOR.

    most_of_one: how many of a kind one owner may have in hand at this worker; no bound where it names none. Turns are
    taken when a hand comes free, and with all hands on one's long jobs none does.
    """
    is_such = Job.kind.in_([kind.value for kind in kinds])
    in_hand = (
        select(Job.owner_id, func.count().label("jobs"))
        .where(Job.state == JobState.RUNNING.value, is_such)
        .group_by(Job.owner_id)
        .subquery()
    )
    served = _served_last(kinds)
    return session.scalar(
        select(Job.id)
        .join(History, Job.history_id == History.id)
        .join(served, served.c.owner_id == Job.owner_id)
        .outerjoin(in_hand, in_hand.c.owner_id == Job.owner_id)
        .where(
            Job.state == JobState.QUEUED.value,
            is_such,
            History.base_id.in_(bases),
            ~_waits_for_another(),
            ~_is_kept_from(worker),
            *_has_room(worker, most_of_one or {}),
        )
        .order_by(
            func.coalesce(in_hand.c.jobs, 0),
            served.c.at.asc().nulls_first(),
            func.min(Job.sequence).over(partition_by=Job.owner_id),
            Job.deadline_at.asc().nulls_last(),
            Job.sequence,
        )
        .limit(1)
    )


def _served_last(kinds: Collection[JobKind]) -> Subquery:
    """Owner, and when their latest job of those kinds began, of all who wait for one; null for their first."""
    names, other = [kind.value for kind in kinds], aliased(Job)
    waiting = select(Job.owner_id).where(Job.state == JobState.QUEUED.value, Job.kind.in_(names)).distinct().subquery()
    began = select(func.max(other.started_at)).where(other.owner_id == waiting.c.owner_id, other.kind.in_(names))
    return select(waiting.c.owner_id, began.scalar_subquery().label("at")).subquery()


def kept_from(session: Session, kinds: Collection[JobKind], bases: Collection[str], worker: str) -> float | None:
    """Seconds until the first job that is kept for another worker may be claimed by this one too; None without any."""
    freed = func.extract("epoch", func.min(Job.created_at) + KEPT_FOR - func.now())
    seconds = session.scalar(
        select(freed)
        .join(History, Job.history_id == History.id)
        .where(
            Job.state == JobState.QUEUED.value,
            Job.kind.in_([kind.value for kind in kinds]),
            History.base_id.in_(bases),
            _is_kept_from(worker),
        )
    )
    return None if seconds is None else max(0.0, float(seconds))


def _is_kept_from(worker: str) -> Any:
    """By the database's clock, as workers' clocks differ. Later tries of a job are old by then, and anybody's."""
    return and_(Job.kept_for.is_not(None), Job.kept_for != worker, Job.created_at > func.now() - KEPT_FOR)


def open_jobs_of(session: Session, owner_id: UUID) -> int:
    """How many jobs of a user wait or run."""
    counted = session.scalar(
        select(func.count()).where(Job.owner_id == owner_id, or_(*(Job.state == state.value for state in OPEN)))
    )
    return counted or 0
