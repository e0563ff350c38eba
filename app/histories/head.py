"""Where a history stands: its head, what moved it, and back again. Going back points elsewhere and deletes nothing."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Integer, bindparam, select
from sqlalchemy.orm import Session

from app.db import UnitOfWork
from app.errors import Conflict
from app.histories.models import HeadMove, History, Version
from app.histories.service import get_history
from app.histories.versions import get_version, walk_up


def move_head(uow: UnitOfWork, owner_id: UUID, history_id: UUID, to_number: int) -> History:
    """Go to any version, back or forward; 0 is the bare base. Only a pointer moves, so it is instant."""
    with uow:
        history = get_history(uow.session, owner_id, history_id, lock=True)
        target = get_version(uow.session, history, to_number)
        to_id = target.id if target else None
        point_head(uow.session, history, to_id, owner_id, _why(uow.session, history, to_id))
        uow.commit()
        return history


def _why(session: Session, history: History, to_id: UUID | None) -> str:
    """What a move of head is, seen from where it is: back and forward lie on one line."""
    rows = session.execute(select(Version.id, Version.parent_id).where(Version.history_id == history.id))
    parents = dict(rows.all())
    if to_id is None or to_id in walk_up(parents, history.head_id):
        return "rolled back"
    if history.head_id is None or history.head_id in walk_up(parents, to_id):
        return "went forward"
    return "went to another branch"


def undo_head_move(uow: UnitOfWork, owner_id: UUID, history_id: UUID, move_id: int | None = None) -> History:
    """Put head where it was before its last move. Undoing twice does it again. move_id: the move that is meant;
    Conflict when there was another one since.
    """
    with uow:
        history = get_history(uow.session, owner_id, history_id, lock=True)
        last = uow.session.scalar(
            select(HeadMove).where(HeadMove.history_id == history.id).order_by(HeadMove.id.desc()).limit(1)
        )
        if last is None:
            raise Conflict("The head of this history has never moved, so there is nothing to undo.")
        if move_id not in (None, last.id):
            raise Conflict(
                "Something else was put to use meanwhile, so nothing was undone. Look at the timeline again."
            )
        if last.from_id == history.head_id:
            raise Conflict("What was in use before the last move was erased, so there is nothing to undo.")
        point_head(uow.session, history, last.from_id, owner_id, "undid the last move")
        uow.commit()
        return history


def point_head(session: Session, history: History, to_id: UUID | None, user_id: UUID | None, why: str) -> None:
    """Move head and note it. Nothing when it is there already. To be committed by the caller."""
    if history.head_id == to_id:
        return
    session.add(HeadMove(history_id=history.id, user_id=user_id, from_id=history.head_id, to_id=to_id, why=why))
    history.head_id = to_id


_MOVES = (
    select(HeadMove)
    .where(HeadMove.history_id == bindparam("history_id"))
    .order_by(HeadMove.id.desc())
    .limit(bindparam("most", type_=Integer))
)


def list_head_moves(session: Session, history_id: UUID, limit: int, before: int | None = None) -> Sequence[HeadMove]:
    """The latest first."""
    asked = _MOVES
    if before is not None:
        asked = asked.where(HeadMove.id < min(before, 2**63 - 1))
    return session.scalars(asked, {"history_id": history_id, "most": limit}).all()
