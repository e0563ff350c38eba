"""What the head of every page shows: the caller's histories, and the one they are in."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.histories.models import History
from app.jobs.models import Job


@dataclass(frozen=True)
class Shelf:
    """histories: the oldest first. current: the one of this page, else the one used last; None when there is none."""

    histories: Sequence[History]
    current: History | None


_last_used = select(func.max(Job.sequence)).where(Job.history_id == History.id).scalar_subquery()
_HISTORIES = (  # put together once: every page asks for it
    select(History, _last_used)
    .where(History.owner_id == bindparam("owner_id"))
    .order_by(History.created_at, History.id)
)


def shelf_of(session: Session, owner_id: UUID, history_id: object = None) -> Shelf:
    """history_id: of the page's address, whatever was typed there."""
    rows = session.execute(_HISTORIES, {"owner_id": owner_id}).all()
    histories = [history for history, _ in rows]
    named = next((history for history in histories if str(history.id) == str(history_id)), None)
    latest = max(rows, key=lambda row: (row[1] or 0, row[0].created_at), default=None)
    return Shelf(histories, named or (latest[0] if latest else None))
