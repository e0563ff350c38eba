"""A POST that starts work may be sent twice with one `Idempotency-Key` and is done once."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db import Base, UnitOfWork
from app.errors import Invalid


class IdempotencyKey(Base):
    """One key of one user, the request it came with, and the job it started. Forgotten after a day; keys of ours, of
    OpenAI's clients (`openai/retries.py`), when the answer has left.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"), Index(None, "job_id"))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


@dataclass(frozen=True)
class Once:
    """A request with an `Idempotency-Key`: the key, and what was asked for."""

    user_id: UUID
    key: str
    request_sha256: str

    def find(self, session: Session) -> UUID | None:
        """The job that this request has started already, if it has. Invalid when the key was used for another one."""
        row = session.get(IdempotencyKey, (self.user_id, self.key))
        if row is None:
            return None
        if row.request_sha256 != self.request_sha256:
            raise Invalid("This Idempotency-Key came with another request before. Use a new one.")
        return row.job_id

    def record(self, session: Session, job_id: UUID) -> None:
        """Note the job in the transaction that makes it: either both are there or neither is."""
        session.add(
            IdempotencyKey(user_id=self.user_id, key=self.key, request_sha256=self.request_sha256, job_id=job_id)
        )


def make_once(user_id: UUID, key: str | None, *asked: object) -> Once | None:
    """`asked`: everything that makes the request what it is. None without a key."""
    return None if key is None else once_by(user_id, key, *asked)


def once_by(user_id: UUID, key: str, *asked: object) -> Once:
    """The same where there is a key."""
    if not 1 <= len(key) <= 200:
        raise Invalid("An Idempotency-Key has 1 to 200 characters.")
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
    return Once(user_id, key, digest)


def is_used(session: Session, user_id: UUID, key: str | None) -> bool:
    """Whether the key came before: it then starts nothing, with whatever it comes."""
    return key is not None and session.get(IdempotencyKey, (user_id, key)) is not None


def commit_once(uow: UnitOfWork, once: Once | None, job_id: UUID) -> UUID:
    """Commit, with the key noted. Where the same request came twice at once, the job of the one that was first."""
    if once is None:
        uow.commit()
        return job_id
    once.record(uow.session, job_id)
    try:
        uow.commit()
    except IntegrityError:
        uow.session.rollback()
        first = once.find(uow.session)
        if first is None:
            raise
        return first
    return job_id
