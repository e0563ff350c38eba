"""The user's side of a job: look, cancel, try again, follow."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Integer, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.concepts.models import Concept
from app.concepts.service import check_name_is_free, check_open_jobs
from app.config import Settings
from app.db import UnitOfWork
from app.errors import Conflict, NotFound
from app.forgettings.models import Forgetting
from app.histories.models import History
from app.histories.service import get_history
from app.idempotency import Once, commit_once
from app.jobs.models import LANE, LEARNED_ON, OPEN, Job, JobEvent, JobKind, JobSample, JobState
from app.jobs.queueing import ring_for

PROGRESS_KEPT = timedelta(days=1)
KEPT_ON_THE_WAY = ("captions", "sample")  # kinds of events that hold for a job that goes on from its checkpoint
_before = aliased(Job)
_PLACES = (  # put together once: to do so costs more than to ask
    select(Job.id, func.count(_before.id))
    .outerjoin(
        _before,
        (_before.kind == Job.kind)
        & _before.state.in_([state.value for state in OPEN])
        & (_before.sequence < Job.sequence),
    )
    .where(Job.id.in_(bindparam("ids", expanding=True)))
    .group_by(Job.id)
)
LARGEST_SEQUENCE = 2**63 - 1  # as its column holds it; a cursor may say anything


_JOB = select(Job).where(Job.id == bindparam("id"))


def get_job(session: Session, owner_id: UUID, job_id: UUID, *, lock: bool = False) -> Job:
    """NotFound when it is not there or somebody else's."""
    if lock:
        job = session.get(Job, job_id, with_for_update=True)
    else:
        job = session.scalars(_JOB, {"id": job_id}).one_or_none()
    if job is None or job.owner_id != owner_id:
        raise NotFound("There is no such job.")
    return job


_JOBS = select(Job).order_by(Job.sequence.desc()).limit(bindparam("most", type_=Integer))


def list_jobs(
    session: Session,
    owner_id: UUID | None,
    limit: int,
    before: int | None = None,
    *,
    state: JobState | None = None,
    kind: JobKind | None = None,
    history_id: UUID | None = None,
) -> Sequence[Job]:
    """The latest first. owner_id: None for everybody's, which is an administrator's to ask."""
    asked = _JOBS
    if owner_id is not None:
        asked = asked.where(Job.owner_id == owner_id)
    if before is not None:
        asked = asked.where(Job.sequence < min(before, LARGEST_SEQUENCE))
    if state is not None:
        asked = asked.where(Job.state == state.value)
    if kind is not None:
        asked = asked.where(Job.kind == kind.value)
    if history_id is not None:
        asked = asked.where(Job.history_id == history_id)
    return session.scalars(asked, {"most": limit}).all()


def cancel(uow: UnitOfWork, owner_id: UUID, job_id: UUID) -> Job:
    """End a waiting job now, a running one at its next step. Conflict when it has ended, or only erasing is left of it:
    rows are gone then whose files are still there, and nobody else would remove them and prove it.
    """
    with uow:
        job = get_job(uow.session, owner_id, job_id, lock=True)
        if job.state in OPEN and _is_erasing(uow.session, job):
            raise Conflict("The concept is forgotten already, and what knew it is being erased: that cannot be undone.")
        if job.state == JobState.QUEUED:
            job.state, job.cancel_requested = JobState.CANCELLED.value, True
            job.finished_at, job.checkpoint_sha256 = uow.session.scalar(select(func.now())), None
            _ring_for_the_next(uow, job)
        elif job.state == JobState.RUNNING:
            job.cancel_requested = True
        else:
            raise Conflict(f"This job is {job.state} already; there is nothing left to cancel.")
        _tell(uow, job, cancel_requested=True)
        uow.commit()
        return job


def _is_erasing(session: Session, job: Job) -> bool:
    published = exists().where(Forgetting.job_id == job.id, Forgetting.published_at.is_not(None))
    return job.kind == JobKind.FORGET and bool(session.scalar(select(published)))


def _ring_for_the_next(uow: UnitOfWork, cancelled: Job) -> None:
    """What waited for this one may begin now."""
    if cancelled.kind not in LANE:
        return
    asked = select(Job).where(
        Job.history_id == cancelled.history_id,
        Job.kind.in_([kind.value for kind in LANE]),
        Job.state == JobState.QUEUED.value,
        Job.id != cancelled.id,
    )
    if following := uow.session.scalar(asked.order_by(Job.sequence).limit(1)):
        ring_for(uow, following)


def retry(uow: UnitOfWork, limits: Settings, owner_id: UUID, job_id: UUID, once: Once | None = None) -> Job:
    """Queue a failed or cancelled job again. It keeps its place in the order of its history.

    One that kept its checkpoint goes on from it, as long as head is where it began. Any other begins anew, a learning
    on what is then the head. Conflict when its name has been learned meanwhile.
    """
    with uow:
        job = get_job(uow.session, owner_id, job_id, lock=True)
        if once and (done := once.find(uow.session)):  # under the lock: the same request may be at it at this moment
            return uow.session.get_one(Job, done)
        if job.state not in (JobState.FAILED, JobState.CANCELLED):
            raise Conflict(f"This job is {job.state}; only one that failed or was cancelled can be tried again.")
        check_open_jobs(uow.session, owner_id, limits)
        if job.kind == JobKind.LEARN:
            history = get_history(uow.session, owner_id, job.history_id, lock=True)
            check_name_is_free(uow.session, history, uow.session.get_one(Concept, job.concept_id).name)
        goes_on = _goes_on(uow.session, job)
        if not goes_on:
            _begin_anew(uow.session, job)
        # What was told of the try before would be taken for news by whoever follows this one from its beginning.
        stays = KEPT_ON_THE_WAY if goes_on else ()
        uow.session.execute(delete(JobEvent).where(JobEvent.job_id == job.id, JobEvent.kind.not_in(stays)))
        job.state, job.error, job.started_at, job.finished_at = JobState.QUEUED.value, None, None, None
        job.cancel_requested, job.times_lost = False, 0
        job.estimated_s = None  # what was said of the first try is no estimate of this one
        _tell(uow, job)
        ring_for(uow, job)
        commit_once(uow, once, job.id)
        return job


def _goes_on(session: Session, job: Job) -> bool:
    """Whether it has a checkpoint, and that was begun on what is head now."""
    if job.checkpoint_sha256 is None or LEARNED_ON not in job.progress:
        return False
    head_id = session.scalar(select(History.head_id).where(History.id == job.history_id))
    return bool(job.progress[LEARNED_ON] == (str(head_id) if head_id else None))


def _begin_anew(session: Session, job: Job) -> None:
    """Nothing is left of the try before. The checkpoint's bytes are the collector's."""
    session.execute(delete(JobSample).where(JobSample.job_id == job.id))
    job.stage, job.step, job.steps_total, job.progress, job.checkpoint_sha256 = "", 0, 0, {}, None


def _tell(uow: UnitOfWork, job: Job, **more: bool) -> None:
    uow.session.add(JobEvent(job_id=job.id, kind="state", data={"state": job.state, **more}))
    uow.wake_after_commit(job.id)


def queue_place(session: Session, job: Job) -> int | None:
    """How many jobs of its kind were asked for before it and are still open, over all users; None when it has begun."""
    return queue_places(session, [job]).get(job.id)


def queue_places(session: Session, jobs: Sequence[Job]) -> dict[UUID, int]:
    """Job -> its place in the queue, of those that wait."""
    waiting = [job.id for job in jobs if job.state == JobState.QUEUED]
    if not waiting:
        return {}
    rows = session.execute(_PLACES, {"ids": waiting})
    return dict(rows.all())


_NEWEST = (
    select(JobEvent.job_id, func.max(JobEvent.id))
    .where(JobEvent.job_id.in_(bindparam("ids", expanding=True)))
    .group_by(JobEvent.job_id)
)


def last_event_ids(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Job -> its newest event. Asked before the rest is read, it says from where on a page has to be told."""
    return dict(session.execute(_NEWEST, {"ids": job_ids}).all()) if job_ids else {}


def standing_of(job: Job) -> Hashable:
    """All that is told of where a job stands: two that are equal look the same."""
    told = (job.state, job.stage, job.step, job.steps_total, job.progress.get("seconds_left"))
    return told, job.cancel_requested, job.error


def events_after(session: Session, told: Mapping[UUID, int], limit: int = 500) -> Sequence[JobEvent]:
    """told: job -> its newest event that is known already."""
    newer = [
        (JobEvent.job_id == job_id) & (JobEvent.id > min(event_id, LARGEST_SEQUENCE))
        for job_id, event_id in told.items()
    ]
    return session.scalars(select(JobEvent).where(or_(*newer)).order_by(JobEvent.id).limit(limit)).all()


def open_among(session: Session, job_ids: Sequence[UUID]) -> set[UUID]:
    """Those that wait or run."""
    asked = select(Job.id).where(Job.id.in_(job_ids), Job.state.in_([state.value for state in OPEN]))
    return set(session.scalars(asked))


def drop_old_progress(session: Session) -> None:
    """Forget the ticks of jobs that ended a day ago: one a second, and nobody follows them any more. And checkpoints of
    those that failed: whoever has not tried them again by then begins anew.

    What is told of their end stays, and so do the losses, in the version. To be committed by the caller.
    """
    long_ended = Job.finished_at < func.now() - PROGRESS_KEPT
    ended = select(Job.id).where(long_ended)
    session.execute(delete(JobEvent).where(JobEvent.kind == "progress", JobEvent.job_id.in_(ended)))
    kept = update(Job).where(long_ended, Job.checkpoint_sha256.is_not(None))
    session.execute(kept.values(checkpoint_sha256=None).execution_options(synchronize_session=False))


def samples_of(session: Session, job_id: UUID) -> Sequence[JobSample]:
    return session.scalars(select(JobSample).where(JobSample.job_id == job_id).order_by(JobSample.step)).all()


def captions_of(session: Session, job_id: UUID) -> list[str]:
    """Of a learning, as it uses them: one a picture, with the token in it. None before its worker has told them."""
    told = session.scalar(
        select(JobEvent.data)
        .where(JobEvent.job_id == job_id, JobEvent.kind == "captions")
        .order_by(JobEvent.id.desc())
        .limit(1)
    )
    return list(told["captions"]) if told else []
