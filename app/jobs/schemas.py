"""A job as programs see it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.generations.models import Generation
from app.histories.models import Version
from app.jobs.estimates import estimates_of
from app.jobs.models import Job, JobKind, JobState
from app.jobs.service import queue_places

JOB_EXAMPLE: dict[str, Any] = {
    "id": "b9f1c1de-21b5-4f6f-9a3c-0e6f1f6a7c55",
    "kind": "learn",
    "state": "running",
    "history_id": "0b4d5a5e-8a43-4f0e-9d2a-6a1c9d1f2e11",
    "concept_id": "7c0a3d7e-59a8-4f28-a3b0-0d8a0f7c1b22",
    "generation_id": None,
    "version": None,
    "held_back": [],
    "stage": "learning",
    "step": 120,
    "steps_total": 200,
    "seconds_left": 14.2,
    "place": None,
    "attempt": 1,
    "cancel_requested": False,
    "deadline_at": None,
    "error": None,
    "created_at": "2026-11-23T10:00:00Z",
    "started_at": "2026-11-23T10:00:01Z",
    "finished_at": None,
    "settings": {"steps": 200, "seed": 7},
}
GENERATE_EXAMPLE: dict[str, Any] = JOB_EXAMPLE | {
    "id": "5f0c9a57-5b0e-4a86-8d8c-2a55a6a1b1f0",
    "kind": "generate",
    "state": "done",
    "concept_id": None,
    "generation_id": "e2a1f4a6-0a5d-4b7f-9e0a-4a3f8d7c6b51",
    "stage": "",
    "step": 20,
    "steps_total": 20,
    "seconds_left": None,
    "finished_at": "2026-11-23T10:00:03Z",
    "settings": {},
}


class JobShown(BaseModel):
    """One learning, one generation, or one forgetting."""

    model_config = ConfigDict(json_schema_extra={"example": JOB_EXAMPLE})
    id: UUID
    kind: JobKind
    state: JobState
    history_id: UUID
    concept_id: UUID | None = Field(description="Of a learning: what is learned.")
    generation_id: UUID | None = Field(description="Of a generation: what was asked for, with its pictures.")
    version: int | None = Field(description="Of a learning that is done: the number of the version it made.")
    held_back: list[str] = Field(
        description="Of a learning that is done: why its version was not made head, in sentences; else empty."
    )
    stage: str = Field(
        description="checking, captions, selection, learning, diagnosis, publishing; forgetting, erasing; empty before."
    )
    step: int
    steps_total: int
    seconds_left: float | None = Field(
        description="Until it is done; of one that waits, estimated from what steps took lately and what else waits."
    )
    place: int | None = Field(
        description="Open jobs of its kind that were asked for before it; null once it has begun."
    )
    attempt: int = Field(description="How often a worker has begun it.")
    cancel_requested: bool
    deadline_at: datetime | None = Field(description="By when its user wants it, where they said so.")
    error: str | None = Field(description="Why it failed, in a sentence.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    settings: dict[str, Any] = Field({}, description="Of a learning: what was set by its user.")


WITHOUT_WHAT_IT_IS_ABOUT: dict[str, Any] = {
    "concept_id": None,
    "generation_id": None,
    "held_back": [],
    "error": None,
    "settings": {},
}


_CAME_OF = (
    select(Job.id, Generation.id, Version.number, Version.held_back)
    .outerjoin(Generation, Generation.job_id == Job.id)
    .outerjoin(Version, Version.job_id == Job.id)
    .where(Job.id.in_(bindparam("ids", expanding=True)))
)


def show_job(session: Session, job: Job) -> JobShown:
    return show_jobs(session, [job])[0]


def show_jobs(session: Session, jobs: Sequence[Job], viewer_id: UUID | None = None) -> list[JobShown]:
    """viewer_id: who looks at them. Others' jobs are shown without what they are about: an administrator sees the load,
    and neither concepts nor prompts, which reasons and settings tell of too. None where all are the viewer's own.
    """
    rows = session.execute(_CAME_OF, {"ids": [job.id for job in jobs]}).all() if jobs else ()
    came_of = {job_id: (generation, version, held or ()) for job_id, generation, version, held in rows}
    nothing: tuple[None, None, Sequence[Any]] = (None, None, ())
    places, left = queue_places(session, jobs), estimates_of(session, jobs)
    shown = [
        JobShown(
            id=job.id,
            kind=JobKind(job.kind),
            state=JobState(job.state),
            history_id=job.history_id,
            concept_id=job.concept_id,
            generation_id=came_of.get(job.id, nothing)[0],
            version=came_of.get(job.id, nothing)[1],
            held_back=[one["sentence"] for one in came_of.get(job.id, nothing)[2]],
            stage=job.stage,
            step=job.step,
            steps_total=job.steps_total,
            seconds_left=job.progress.get("seconds_left") if job.state == JobState.RUNNING else left.get(job.id),
            place=places.get(job.id),
            attempt=job.attempt,
            cancel_requested=job.cancel_requested,
            deadline_at=job.deadline_at,
            error=job.error,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            settings=job.settings,
        )
        for job in jobs
    ]
    return [
        one if viewer_id in (None, job.owner_id) else one.model_copy(update=WITHOUT_WHAT_IT_IS_ABOUT)
        for one, job in zip(shown, jobs, strict=True)
    ]
