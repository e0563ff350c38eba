"""The line of versions from the base to one of them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.concepts.models import Concept
from app.histories.models import Version


@dataclass(frozen=True)
class Ancestor:
    """One version of a line, with what composing and examining need of it."""

    version_id: UUID
    number: int
    delta_sha256: str
    concept_id: UUID
    name: str
    class_noun: str


def lineage(session: Session, version_id: UUID | None) -> list[Ancestor]:
    """From the oldest to `version_id`; nothing for the bare base."""
    line = select(Version.id, Version.parent_id).where(Version.id == version_id).cte("line", recursive=True)
    line = line.union_all(select(Version.id, Version.parent_id).join(line, Version.id == line.c.parent_id))
    rows = session.execute(
        select(Version.id, Version.number, Version.delta_sha256, Concept.id, Concept.name, Concept.class_noun)
        .join(line, Version.id == line.c.id)
        .join(Concept, Version.concept_id == Concept.id)
        .order_by(Version.number)  # a parent is always older than its child
    ).all()
    return [Ancestor(*row) for row in rows]
