"""Concepts and the pictures they are taught from."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, false, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class Concept(Base):
    """A thing, a pet or a style. In prompts it is `<name>`. Two branches of one history may each learn a `rex`."""

    __tablename__ = "concepts"
    __table_args__ = (
        Index(None, "history_id"),
        CheckConstraint("name ~ '^[A-Za-z0-9_-]{1,60}$'", name="name_is_token"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    history_id: Mapped[UUID] = mapped_column(ForeignKey("histories.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(60))
    class_noun: Mapped[str] = mapped_column(String(60))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ConceptPicture(Base):
    """One checked, upright picture without metadata, with its caption; no caption: the captioner writes it."""

    __tablename__ = "concept_pictures"
    __table_args__ = (UniqueConstraint("concept_id", "position"), Index(None, "blob_sha256"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    concept_id: Mapped[UUID] = mapped_column(ForeignKey("concepts.id", ondelete="CASCADE"))
    position: Mapped[int]
    blob_sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256", ondelete="RESTRICT"))
    file_name: Mapped[str] = mapped_column(String(255))
    width_px: Mapped[int]
    height_px: Mapped[int]
    caption: Mapped[str | None] = mapped_column(String(500))


class Upload(Base):
    """A checked picture that waits on the teaching page until Start is pressed; forgotten after a day."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "owner_id"), Index(None, "blob_sha256"), Index(None, "created_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    blob_sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256", ondelete="RESTRICT"))
    file_name: Mapped[str] = mapped_column(String(255))
    width_px: Mapped[int]
    height_px: Mapped[int]
    is_blurred: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class UploadCaption(Base):
    """What the captioner of one base sees in a picture that waits. It goes with its upload.

    caption: with {noun} where the class noun goes; "" when there is none to offer; null while it is only asked for.
    subject: what the picture shows, for a caption about how it is drawn: "a cat at night"; "" when nobody can say.
    """

    __tablename__ = "upload_captions"
    __table_args__ = (Index(None, "base_id"),)

    upload_id: Mapped[UUID] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    base_id: Mapped[str] = mapped_column(ForeignKey("base_models.id", ondelete="CASCADE"), primary_key=True)
    caption: Mapped[str | None] = mapped_column(String(500))
    subject: Mapped[str] = mapped_column(String(500), default="", server_default="")
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())  # since when it waits
    rung_at: Mapped[datetime] = mapped_column(server_default=func.now())  # when a message was last sent for it
