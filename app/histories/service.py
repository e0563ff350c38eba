"""Histories: begun on a base, changed, found, deleted. Their versions and their heads have modules of their own."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Integer, bindparam, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.db import UnitOfWork
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.histories.models import BaseModelRow, History
from app.jobs.models import Job
from app.texts import one_line

LONGEST_NAME = 80
WITH_BASE = joinedload(History.base, innerjoin=True)

_BASES = select(BaseModelRow).order_by(BaseModelRow.seen_at.desc())


def base_models(session: Session) -> Sequence[BaseModelRow]:
    """Bases that a worker has loaded, the latest first."""
    return session.scalars(_BASES).all()


def base_of(session: Session, history: History) -> BaseModelRow:
    return session.get_one(BaseModelRow, history.base_id)


def base_to_begin_on(session: Session, base_id: str | None) -> BaseModelRow:
    """The base of that id; without one, the one that a worker loaded last. Unavailable while there is none at all."""
    bases = base_models(session)
    if not bases:
        raise Unavailable("No worker has reported its base model yet. Try again when one has started.")
    for base in bases:
        if base_id in (None, base.id):
            return base
    raise NotFound("There is no such base model here.")


def create_history(uow: UnitOfWork, owner_id: UUID, name: str, base_id: str | None = None) -> History:
    """A history that begins with the bare base. base_id: None for the base the workers hold.

    Unavailable while no worker has ever reported a base, Conflict when its owner has one of that name.
    """
    name = _checked_name(name)
    with uow:
        history = History(owner_id=owner_id, base_id=base_to_begin_on(uow.session, base_id).id, name=name)
        uow.session.add(history)
        _commit_name(uow, name)
        uow.session.refresh(history)
        return history


def change_history(
    uow: UnitOfWork, owner_id: UUID, history_id: UUID, name: str | None = None, *, guards_head: bool | None = None
) -> History:
    """name, guards_head: None leaves it as it is. Learnings that run are published by what is set when they end."""
    name = None if name is None else _checked_name(name)
    with uow:
        history = get_history(uow.session, owner_id, history_id, lock=True)
        history.name = history.name if name is None else name
        history.guards_head = history.guards_head if guards_head is None else guards_head
        _commit_name(uow, history.name)
        return history


def delete_history(uow: UnitOfWork, owner_id: UUID, history_id: UUID) -> None:
    """The history and everything in it: versions, concepts, pictures. This one cannot be undone."""
    with uow:
        # Its jobs first, as a worker that publishes takes first the job and then the history: neither waits for ever.
        uow.session.scalars(
            select(Job.id)
            .where(Job.history_id == history_id, Job.owner_id == owner_id)
            .order_by(Job.id)
            .with_for_update()
        )
        uow.session.delete(get_history(uow.session, owner_id, history_id, lock=True))
        uow.commit()


def get_history(session: Session, owner_id: UUID, history_id: UUID, *, lock: bool = False) -> History:
    """NotFound when it is not there or somebody else's. lock: until the end of the transaction."""
    return _own(session.get(History, history_id, with_for_update=lock or None), owner_id)


_HISTORY = select(History).options(WITH_BASE).where(History.id == bindparam("id"))


def get_history_with_base(session: Session, owner_id: UUID, history_id: UUID) -> History:
    """With its `base`, in one journey. NotFound as above."""
    return _own(session.scalars(_HISTORY, {"id": history_id}).one_or_none(), owner_id)


def _own(history: History | None, owner_id: UUID) -> History:
    if history is None or history.owner_id != owner_id:
        raise NotFound("There is no such history.")
    return history


_HISTORIES = (
    select(History)
    .options(WITH_BASE)
    .where(History.owner_id == bindparam("owner_id"))
    .order_by(History.created_at, History.id)
    .limit(bindparam("most", type_=Integer))
)


def list_histories(
    session: Session, owner_id: UUID, limit: int | None = None, after: tuple[datetime, UUID] | None = None
) -> Sequence[History]:
    """The oldest first, each with its `base`. after: (created_at, id) of the last one seen."""
    asked = _HISTORIES
    if after is not None:
        asked = asked.where(tuple_(History.created_at, History.id) > tuple_(*after))
    return session.scalars(asked, {"owner_id": owner_id, "most": limit}).all()


def _checked_name(name: str) -> str:
    name = one_line(name, "name", LONGEST_NAME, "A name")
    if not name:
        raise Invalid(f"A name has 1 to {LONGEST_NAME} characters, and this one has none.", field="name")
    return name


def _commit_name(uow: UnitOfWork, name: str) -> None:
    try:
        uow.commit()
    except IntegrityError:
        raise Conflict(f"You have a history named {name} already.", field="name") from None
