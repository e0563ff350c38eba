"""Jobs, what happened to them, and the workers that do them.

PostgreSQL is the truth, the message is the doorbell. A job's states:

    queued -> running      a worker claimed it: `attempt` grows by one and fences off whoever had it before
    running -> queued      handed back by a worker that stops, or taken back when its lease ran out
    running -> done        its result was published in the same transaction
    running -> failed      it cannot be done, or its worker was lost `max_attempts` times without its having come any
                           further; the reason is in `error`
    queued, running -> cancelled    its user asked; a running one ends at its next step
    failed, cancelled -> queued     its user asked to try again; losses count from nothing

A learning that failed through no fault of its own keeps its checkpoint for a day, so that trying again loses nothing.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class JobKind(StrEnum):
    LEARN = "learn"
    GENERATE = "generate"
    FORGET = "forget"


LANE = (JobKind.LEARN, JobKind.FORGET)
"""What makes versions: of one history, one at a time, in the order of asking."""


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (JobState.QUEUED, JobState.RUNNING)

LEARNED_ON = "learned_on"
"""Key of `Job.progress`: the version, or null for the base, that a job with a checkpoint goes on from."""


def _one_of(column: str, words: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(word.value) for word in words)})"


class Job(Base):
    """One learning, one generation, or one forgetting."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(_one_of("kind", JobKind), name="kind_known"),
        CheckConstraint(_one_of("state", JobState), name="state_known"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease_while_running"),
        CheckConstraint("(kind = 'learn') = (concept_id IS NOT NULL)", name="learning_has_concept"),
        Index(None, "owner_id", "sequence"),
        Index(None, "history_id", "sequence"),
        Index(None, "concept_id"),
        Index(None, "checkpoint_sha256"),
        Index(None, "owner_id", "kind", "started_at"),
        Index("ix_jobs_estimated", "finished_at", postgresql_where=text("estimated_s IS NOT NULL")),
        Index("ix_jobs_open", "state", "sequence", postgresql_where=text("state IN ('queued', 'running')")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)  # the order of asking
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    history_id: Mapped[UUID] = mapped_column(ForeignKey("histories.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default=JobState.QUEUED.value)
    concept_id: Mapped[UUID | None] = mapped_column(ForeignKey("concepts.id", ondelete="CASCADE"))  # learning only
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)  # learning: fields of LearningSettings that differ

    attempt: Mapped[int] = mapped_column(default=0)  # the fencing token: every write of a worker carries it
    times_lost: Mapped[int] = mapped_column(default=0)  # leases that ran out in a row; at `max_attempts` the job fails
    max_attempts: Mapped[int] = mapped_column(default=3)
    worker: Mapped[str | None] = mapped_column(String(120))
    kept_for: Mapped[str | None] = mapped_column(String(120))  # a worker that may claim it before the others
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    checkpoint_sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256", ondelete="RESTRICT"))

    stage: Mapped[str] = mapped_column(
        String(20), default=""
    )  # checking captions selection learning diagnosis publishing; forgetting erasing
    step: Mapped[int] = mapped_column(default=0)
    steps_total: Mapped[int] = mapped_column(default=0)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)  # {"losses": [[step, loss]..], "seconds_left": s}
    error: Mapped[str | None] = mapped_column(Text)  # a sentence, when failed
    deadline_at: Mapped[datetime | None]  # by when its owner wants it: it goes before their other jobs of its kind
    estimated_s: Mapped[float | None]  # how long it was said to take when it was asked for

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEvent(Base):
    """What happened to a job, in order, for streams that go on where they were broken off."""

    __tablename__ = "job_events"
    __table_args__ = (Index(None, "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))  # state progress captions sample
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class JobSample(Base):
    """A picture of a learning on its way, always from the same prompt and seed: the strip from before to after."""

    __tablename__ = "job_samples"
    __table_args__ = (Index(None, "blob_sha256"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)  # 0 is before learning
    blob_sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256", ondelete="RESTRICT"))


class WorkerRow(Base):
    """A worker process, as it last reported."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(120), primary_key=True)  # host:pid:start
    base_id: Mapped[str | None] = mapped_column(ForeignKey("base_models.id", ondelete="SET NULL"))
    device: Mapped[str] = mapped_column(String(60))
    holds: Mapped[dict[str, Any]]  # what it has in hand: jobs, rows, memory
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
