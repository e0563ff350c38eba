"""The workers that are there."""

import socket
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from app.jobs.models import WorkerRow

WORKER_GONE = timedelta(seconds=60)


def list_workers(session: Session) -> Sequence[WorkerRow]:
    """Workers that reported within the last minute."""
    return session.scalars(_ALIVE).all()


def has_reported(session: Session, pid: int) -> bool:
    """Whether the worker that is this process of this machine has loaded its base, and reported itself."""
    mine = WorkerRow.id.startswith(f"{socket.gethostname()}:{pid}:", autoescape=True)
    return bool(session.scalar(select(exists().where(mine, is_alive()))))


def is_alive() -> ColumnElement[bool]:
    """Of a worker, in a statement: whether it reported within the last minute."""
    return WorkerRow.seen_at > func.now() - WORKER_GONE


_ALIVE = select(WorkerRow).where(is_alive()).order_by(WorkerRow.started_at)
