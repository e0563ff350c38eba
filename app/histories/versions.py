"""Versions of a history, which are a tree: each is what the ones before it on its line know, and one concept more."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Integer, bindparam, func, select
from sqlalchemy.orm import Session, defer

from app.concepts.models import Concept
from app.db import UnitOfWork
from app.errors import Invalid, NotFound
from app.histories.models import History, Version
from app.histories.service import LONGEST_NAME, get_history
from app.texts import one_line

LARGEST_NUMBER = 2**31 - 1  # of a version, as its column holds it
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
            Known(by_id[one].name, by_id[one].class_noun, by_id[one].number) for one in walk_up(parents, version_id)
        ][::-1]
        for history_id, version_id in asked.items()
    }


def known_names(session: Session, history: History, version_id: UUID | None) -> dict[str, str]:
    """Concept name -> class noun, of those a version knows, in the order they were learned."""
    return {known.name: known.class_noun for known in known_concepts(session, history, version_id)}


def walk_up(parents: Mapping[UUID, UUID | None], version_id: UUID | None) -> Iterator[UUID]:
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
