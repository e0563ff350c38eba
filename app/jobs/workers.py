"""The workers that are there."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.jobs.models import WorkerRow

WORKER_GONE = timedelta(seconds=60)


def list_workers(session: Session) -> Sequence[WorkerRow]:
    """Workers that reported within the last minute."""
    return session.scalars(_ALIVE).all()


def is_alive() -> ColumnElement[bool]:
    """Of a worker, in a statement: whether it reported within the last minute."""
    return WorkerRow.seen_at > func.now() - WORKER_GONE


_ALIVE = select(WorkerRow).where(is_alive()).order_by(WorkerRow.started_at)
