"""A job in the queue: its row, its first event, who may have it first, and the messages that ring for it."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from app.db import UnitOfWork
from app.histories.models import History
from app.jobs.models import Job, JobEvent, JobKind, JobState, WorkerRow
from app.queue import TASK_OF, own_queue_of, queue_of

ALIVE = timedelta(seconds=15)  # since a worker's last report: three heartbeats


def queue_job(uow: UnitOfWork, job: Job) -> Job:
    """Add a new job, which then has its id. To be committed by the caller; only then is it rung for.

    A generation is kept for the worker that last worked on its history: that one has the version's keys and values at
    hand. The others leave it alone for a moment only (`claims.KEPT_FOR`), so that nobody waits for a worker.
    """
    if job.kind == JobKind.GENERATE:
        job.kept_for = warm_worker(uow.session, job.history_id)
    uow.session.add(job)
    uow.session.flush()
    uow.session.add(JobEvent(job_id=job.id, kind="state", data={"state": JobState.QUEUED.value}))
    if job.kept_for is not None:
        uow.after_commit(TASK_OF[job.kind], own_queue_of(job.kept_for), job_id=str(job.id))
    ring_for(uow, job)
    return job


def ring_for(uow: UnitOfWork, job: Job) -> None:
    """Tell the workers of its base, after the commit."""
    base_id = uow.session.scalars(select(History.base_id).where(History.id == job.history_id)).one()
    uow.after_commit(TASK_OF[job.kind], queue_of(TASK_OF[job.kind], base_id), job_id=str(job.id))


def warm_worker(session: Session, history_id: UUID) -> str | None:
    """The worker that was the last to work on this history. None when it is gone, or the only one of its base."""
    other = aliased(WorkerRow)
    alive_since = func.now() - ALIVE
    another = exists().where(other.id != WorkerRow.id, other.base_id == WorkerRow.base_id, other.seen_at > alive_since)
    return session.scalar(
        select(WorkerRow.id)
        .join(Job, Job.worker == WorkerRow.id)
        .where(Job.history_id == history_id, WorkerRow.seen_at > alive_since, another)
        .order_by(Job.sequence.desc())
        .limit(1)
    )
