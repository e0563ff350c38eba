"""What was to be forgotten, how, and the proof that it was erased."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class Mode(StrEnum):
    """fast: at once, from what is stored. exact: the later concepts are learned again without it."""

    FAST = "fast"
    EXACT = "exact"


class Shared(StrEnum):
    """Of a fast forgetting: what becomes of values that a later concept learned on top of it (cns/unlearning.py)."""

    KEPT = "kept"
    BLENDED = "blended"
    REBASED = "rebased"


class Forgetting(Base):
    """One concept that one history goes on without. Its job makes the new line of versions, and erases when asked to.

    name, class_noun: kept here, as the concept itself is gone once it is erased. versions: numbers of the new line,
    oldest first, once they are published. doomed: what is being erased, {"sha256", "what"} each; empty otherwise.
    proof: what was erased, and where it was looked for afterwards (app/forgettings/erasing.py); empty without.
    """

    __tablename__ = "forgettings"
    __table_args__ = (
        UniqueConstraint("job_id"),
        CheckConstraint("mode IN ('fast', 'exact')", name="mode_known"),
        Index(None, "history_id", "created_at"),
        Index(None, "concept_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    history_id: Mapped[UUID] = mapped_column(ForeignKey("histories.id", ondelete="CASCADE"))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    concept_id: Mapped[UUID | None] = mapped_column(ForeignKey("concepts.id", ondelete="SET NULL"))
    name: Mapped[str] = mapped_column(String(60))
    class_noun: Mapped[str] = mapped_column(String(60))
    mode: Mapped[str] = mapped_column(String(10))
    shared: Mapped[str] = mapped_column(String(10), default=Shared.KEPT.value)
    erase: Mapped[bool]
    published_at: Mapped[datetime | None]
    versions: Mapped[list[Any]] = mapped_column(default=list)
    doomed: Mapped[list[Any]] = mapped_column(default=list)
    proof: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
