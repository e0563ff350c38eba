"""Histories: trees of versions with a head. Going back points elsewhere and deletes nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Integer, bindparam, func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, defer, joinedload

from app.concepts.models import Concept
from app.db import UnitOfWork
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.histories.models import BaseModelRow, HeadMove, History, Version
from app.jobs.models import Job
from app.texts import one_line

LONGEST_NAME = 80
LARGEST_NUMBER = 2**31 - 1  # of a version, as its column holds it
WITH_BASE = joinedload(History.base, innerjoin=True)
# What a learning reports is most of a version, and all of its losses. Whatever shows many versions does without.
WITHOUT_REPORT = [
    defer(column, raiseload=True)
    for column in (Version.report, Version.seconds, Version.diagnosis, Version.examination, Version.held_back)
]


@dataclass(frozen=True)
class Step:
    """One version of a line, with the concept it learned."""

    version: Version
    concept: Concept


@dataclass(frozen=True)
class Known:
    """A concept that a version knows. number: of the version that learned it."""

    name: str
    class_noun: str
    number: int


_BASES = select(BaseModelRow).order_by(BaseModelRow.seen_at.desc())


def base_models(session: Session) -> Sequence[BaseModelRow]:
    """Bases that a worker has loaded, the latest first."""
    return session.scalars(_BASES).all()


def base_of(session: Session, history: History) -> BaseModelRow:
    return session.get_one(BaseModelRow, history.base_id)


def create_history(uow: UnitOfWork, owner_id: UUID, name: str, base_id: str | None = None) -> History:
    """A history that begins with the bare base. base_id: None for the base the workers hold.

    Unavailable while no worker has ever reported a base, Conflict when its owner has one of that name.
    """
    name = _checked_name(name)
    with uow:
        bases = base_models(uow.session)
        if base_id is None:
            if not bases:
                raise Unavailable("No worker has reported its base model yet. Try again when one has started.")
            base_id = bases[0].id
        elif base_id not in {base.id for base in bases}:
            raise NotFound("There is no such base model here.")
        history = History(owner_id=owner_id, base_id=base_id, name=name)
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


# --- versions ------------------------------------------------------------------------------------------------------


_STEPS_OF = (  # these are put together once: to do so costs more than to ask them
    select(Version, Concept)
    .join(Concept, Concept.id == Version.concept_id)
    .where(Version.history_id == bindparam("history_id"), Version.number > bindparam("after"))
    .order_by(Version.number)
    .limit(bindparam("most", type_=Integer))
)


def steps_of(session: Session, history_id: UUID, limit: int | None = None, after: int = 0) -> list[Step]:
    """Versions of the history with their concepts, in the order of learning. after: those with higher numbers."""
    asked = {"history_id": history_id, "after": min(after, LARGEST_NUMBER), "most": limit}
    return [Step(version, concept) for version, concept in session.execute(_STEPS_OF, asked).all()]


_STEPS_IN = (
    select(Version, Concept)
    .options(*WITHOUT_REPORT)
    .join(Concept, Concept.id == Version.concept_id)
    .where(Version.history_id.in_(bindparam("ids", expanding=True)))
    .order_by(Version.number)
)


def steps_in(session: Session, history_ids: Sequence[UUID]) -> dict[UUID, list[Step]]:
    """The versions of several histories with their concepts, each in the order of learning, without their reports."""
    found: dict[UUID, list[Step]] = {history_id: [] for history_id in history_ids}
    for version, concept in session.execute(_STEPS_IN, {"ids": history_ids}).all() if history_ids else ():
        found[version.history_id].append(Step(version, concept))
    return found


def numbers_in(session: Session, history_id: UUID) -> dict[UUID | None, int]:
    """Every version of the history -> its number; 0 for no version, which is the bare base."""
    rows = session.execute(select(Version.id, Version.number).where(Version.history_id == history_id))
    return {None: 0, **dict(rows.all())}


def line_to(steps: Iterable[Step], version_id: UUID | None) -> list[Step]:
    """From the first version to the given one, parents first; nothing for the bare base."""
    by_id = {step.version.id: step for step in steps}
    line: list[Step] = []
    while version_id is not None:
        line.append(by_id[version_id])
        version_id = line[-1].version.parent_id
    return line[::-1]


def lineage(session: Session, history: History, version_id: UUID | None) -> list[Step]:
    return line_to(steps_of(session, history.id), version_id)


def known_concepts(session: Session, history: History, version_id: UUID | None) -> list[Known]:
    """What a version knows, in the order it was learned."""
    return known_by_each(session, {history.id: version_id})[history.id]


def known_by_each(session: Session, asked: Mapping[UUID, UUID | None]) -> dict[UUID, list[Known]]:
    """asked: history -> one of its versions. History -> what that version knows, in the order it was learned. Reads no
    report, as it is asked for with every picture.
    """
    rows = session.execute(
        select(Version.history_id, Version.id, Version.parent_id, Version.number, Concept.name, Concept.class_noun)
        .join(Concept, Concept.id == Version.concept_id)
        .where(Version.history_id.in_(list(asked)))
    ).all()
    by_id = {row.id: row for row in rows}
    parents = {row.id: row.parent_id for row in rows}
    return {
        history_id: [
            Known(by_id[one].name, by_id[one].class_noun, by_id[one].number) for one in _path(parents, version_id)
        ][::-1]
        for history_id, version_id in asked.items()
    }


def known_names(session: Session, history: History, version_id: UUID | None) -> dict[str, str]:
    """Concept name -> class noun, of those a version knows, in the order they were learned."""
    return {known.name: known.class_noun for known in known_concepts(session, history, version_id)}


def _path(parents: Mapping[UUID, UUID | None], version_id: UUID | None) -> Iterator[UUID]:
    """From a version up to the first one that was learned on the bare base."""
    while version_id is not None:
        yield version_id
        version_id = parents[version_id]


def get_version(session: Session, history: History, number: int) -> Version | None:
    """The version of that number; None for 0, the bare base. NotFound for a number there is not."""
    if number == 0:
        return None
    asked = select(Version).where(Version.history_id == history.id, Version.number == number)
    version = session.scalar(asked) if 0 < number <= LARGEST_NUMBER else None
    if version is None:
        raise NotFound(f"This history has no version {number}.")
    return version


def next_number(session: Session, history: History) -> int:
    """For the next version. To be called with the history locked, until the version is written.

    None is given twice, not even that of an erased one: links, recipes in pictures and proofs name versions by number.
    """
    last = session.scalar(select(func.max(Version.number)).where(Version.history_id == history.id)) or 0
    return max(last, history.highest_erased) + 1


def number_of(session: Session, version_id: UUID | None) -> int:
    return 0 if version_id is None else session.get_one(Version, version_id).number


def rename_version(uow: UnitOfWork, owner_id: UUID, history_id: UUID, number: int, label: str) -> Version:
    label = one_line(label, "label", LONGEST_NAME, "A name")
    with uow:
        version = get_version(uow.session, get_history(uow.session, owner_id, history_id), number)
        if version is None:
            raise Invalid("The bare base has no name of its own.", field="label")
        version.label = label or None
        uow.commit()
        return version


# --- head ----------------------------------------------------------------------------------------------------------


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
    if to_id is None or to_id in _path(parents, history.head_id):
        return "rolled back"
    if history.head_id is None or history.head_id in _path(parents, to_id):
        return "went forward"
    return "went to another branch"


def undo_head_move(uow: UnitOfWork, owner_id: UUID, history_id: UUID) -> History:
    """Put head where it was before its last move. Undoing twice does it again."""
    with uow:
        history = get_history(uow.session, owner_id, history_id, lock=True)
        last = uow.session.scalar(
            select(HeadMove).where(HeadMove.history_id == history.id).order_by(HeadMove.id.desc()).limit(1)
        )
        if last is None:
            raise Conflict("The head of this history has never moved, so there is nothing to undo.")
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
