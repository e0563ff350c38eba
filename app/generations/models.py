"""Pictures asked for and pictures made."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class Generation(Base):
    """One request for pictures under one version (NULL: the bare base). Its pictures have seeds seed, seed + 1, ...

    regions: boxes with prompts of their own, as `app.generations.regions` keeps them. apart: whether its concepts keep
    out of each other's places in the picture.
    """

    __tablename__ = "generations"
    __table_args__ = (
        UniqueConstraint("job_id"),
        CheckConstraint("count > 0", name="count_positive"),
        CheckConstraint("steps > 0", name="steps_positive"),
        Index(None, "history_id", "created_at"),
        Index(None, "version_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    history_id: Mapped[UUID] = mapped_column(ForeignKey("histories.id", ondelete="CASCADE"))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    version_id: Mapped[UUID | None] = mapped_column(ForeignKey("versions.id", ondelete="CASCADE"))
    prompt: Mapped[str] = mapped_column(Text)
    negative_prompt: Mapped[str] = mapped_column(Text, default="")
    seed: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int]
    steps: Mapped[int]
    guidance: Mapped[float]
    sampler: Mapped[str] = mapped_column(String(20))
    width_px: Mapped[int]
    height_px: Mapped[int]
    regions: Mapped[list[Any]] = mapped_column(default=list, server_default=text("'[]'::jsonb"))
    apart: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Image(Base):
    """One picture: a PNG with its recipe inside."""

    __tablename__ = "images"
    __table_args__ = (UniqueConstraint("generation_id", "position"), Index(None, "blob_sha256"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id", ondelete="CASCADE"))
    position: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    blob_sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256", ondelete="RESTRICT"))
    width_px: Mapped[int]
    height_px: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
