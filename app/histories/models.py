"""Base models, histories, versions, and every move of a head."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    String,
    UniqueConstraint,
    func,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base


class BaseModelRow(Base):
    """A base model that a worker has loaded. id: SHA-256 of its weights, as the method computes it.

    facts: what pages and REST need to know without loading it: {"name", "native_px", "size_step_px", "samplers": [..],
    "steps", "guidance", "sampler", "pixelated", "learning": {defaults of LearningSettings}, "seconds_per_step": {..},
    "manners": {noun: [before, behind]} (`app.wording`), "own_tokens": [names of <token>s that it knows by itself],
    "row_seconds": {rows of a step: seconds of each, for pictures of the base's own size}, "learning_share"}.
    """

    __tablename__ = "base_models"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(String(500))
    facts: Mapped[dict[str, Any]]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class History(Base):
    """One person's line of learning on one base model. head_id: the version in use; NULL is the bare base."""

    __tablename__ = "histories"
    __table_args__ = (UniqueConstraint("owner_id", "name"), Index(None, "head_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    base_id: Mapped[str] = mapped_column(ForeignKey("base_models.id", ondelete="RESTRICT"))
    name: Mapped[str] = mapped_column(String(80))
    # Deferred, because a version and the head that moves to it are written by one transaction in either order.
    head_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("versions.id", ondelete="SET NULL", use_alter=True, deferrable=True, initially="DEFERRED")
    )
    guards_head: Mapped[bool] = mapped_column(server_default=true())  # a version that did damage is not made head
    highest_erased: Mapped[int] = mapped_column(
        default=0, server_default=text("0")
    )  # number of a version that is no more
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    base: Mapped[BaseModelRow] = relationship(lazy="raise", viewonly=True)


class Version(Base):
    """One learned state. Never edited but for `label`; going back points elsewhere. parent_id NULL: the bare base."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("history_id", "number"),
        UniqueConstraint("job_id"),  # a job publishes once, however often it is delivered
        CheckConstraint("number > 0", name="number_positive"),
        Index(None, "parent_id"),
        Index(None, "concept_id"),
        Index(None, "delta_sha256"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    history_id: Mapped[UUID] = mapped_column(ForeignKey("histories.id", ondelete="CASCADE"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("versions.id", ondelete="CASCADE"))
    concept_id: Mapped[UUID] = mapped_column(ForeignKey("concepts.id", ondelete="CASCADE"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    number: Mapped[int]  # 1, 2, 3... in the order of learning, over all branches; with gaps where some were erased
    label: Mapped[str | None] = mapped_column(String(80))  # a name its user gave it
    delta_sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256", ondelete="RESTRICT"))
    delta_bytes: Mapped[int] = mapped_column(BigInteger)
    report: Mapped[dict[str, Any]]  # the delta's own (`LearningRun.report`), pull, guided; and "loss"
    seconds: Mapped[dict[str, Any]]  # {"captions", "selection", "learning", "diagnosis"}
    diagnosis: Mapped[list[Any]]  # findings, each with signature, level, measured, threshold, sentence, remedy
    examination: Mapped[dict[str, Any]]  # the measured numbers behind them
    held_back: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))  # findings that kept head away
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class HeadMove(Base):
    """One step of a head: who, when, from where, to where, why."""

    __tablename__ = "head_moves"
    __table_args__ = (Index(None, "history_id"), Index(None, "from_id"), Index(None, "to_id"), Index(None, "user_id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    history_id: Mapped[UUID] = mapped_column(ForeignKey("histories.id", ondelete="CASCADE"))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    from_id: Mapped[UUID | None] = mapped_column(ForeignKey("versions.id", ondelete="CASCADE"))
    to_id: Mapped[UUID | None] = mapped_column(ForeignKey("versions.id", ondelete="CASCADE"))
    why: Mapped[str] = mapped_column(String(120))  # "learned rex", "rolled back", "went forward again"
    at: Mapped[datetime] = mapped_column(server_default=func.now())
