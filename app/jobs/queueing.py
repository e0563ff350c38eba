"""A new job in the queue: its row, its first event, and the message that rings for it."""

from app.db import UnitOfWork
from app.jobs.models import Job, JobEvent, JobState
from app.queue import TASK_OF


def queue_job(uow: UnitOfWork, job: Job) -> Job:
    """Add a new job, which then has its id. To be committed by the caller; only then is it rung for."""
    uow.session.add(job)
    uow.session.flush()
    uow.session.add(JobEvent(job_id=job.id, kind="state", data={"state": JobState.QUEUED.value}))
    uow.after_commit(TASK_OF[job.kind], job_id=str(job.id))
    return job
