"""Learn what a version learned once more, with the settings that its diagnosis says would mend it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.concepts.models import Concept, ConceptPicture
from app.concepts.service import check_name_is_free, check_open_jobs, queue_learning
from app.config import Settings
from app.db import UnitOfWork
from app.errors import Conflict, Invalid
from app.histories.head import point_head
from app.histories.models import Version
from app.histories.service import get_history
from app.histories.versions import get_version
from app.idempotency import Once, commit_once
from app.jobs.models import Job
from app.texts import one_line

LONGEST_SIGNATURE = 60


def learn_again(
    uow: UnitOfWork,
    limits: Settings,
    owner_id: UUID,
    history_id: UUID,
    number: int,
    signature: str,
    once: Once | None = None,
) -> Job:
    """Queue a learning from the same pictures, on the version below, with what the remedy for `signature` changes.

    Head goes to the version below, where a learning of the same concept can begin; the version stays in the tree.
    Invalid for the bare base, Conflict where that signature was not found or its remedy is nothing to apply.
    """
    signature = one_line(signature, "signature", LONGEST_SIGNATURE, "The name of a finding")
    with uow:
        session = uow.session
        history = get_history(session, owner_id, history_id, lock=True)
        if once and (done := once.find(session)):
            return session.get_one(Job, done)
        version = get_version(session, history, number)
        if version is None:
            raise Invalid("The bare base learned nothing that could be learned again.", field="signature")
        changes = changes_of(version, signature)
        check_open_jobs(session, owner_id, limits)
        learned = session.get_one(Concept, version.concept_id)
        point_head(session, history, version.parent_id, owner_id, f"to learn {learned.name} again")
        session.flush()
        check_name_is_free(session, history, learned.name)
        concept = Concept(history_id=history.id, name=learned.name, class_noun=learned.class_noun)
        session.add(concept)
        session.flush()
        session.add_all(_copies(session, learned.id, concept.id))
        # By the concept, as a version that was made by forgetting another one has no learning of its own.
        before = session.scalar(select(Job.settings).where(Job.concept_id == learned.id))
        settings = merge_changes(before or {}, changes)
        job = queue_learning(uow, limits, owner_id, concept, settings)
        return session.get_one(Job, commit_once(uow, once, job.id), populate_existing=True)


def changes_of(version: Version, signature: str) -> dict[str, Any]:
    """What the remedy for a signature changes; the worst of several findings counts."""
    order = {"bad": 0, "warn": 1}
    found = [one for one in version.diagnosis if one.get("signature") == signature and one.get("changes")]
    if not found:
        raise Conflict(
            f"Version {version.number} has no remedy for {signature} that could be applied.", field="signature"
        )
    worst = min(found, key=lambda one: order.get(one["severity"], 2))
    return dict(worst["changes"])


def merge_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with `changes` on top; those of the selection one by one."""
    selection = {**(settings.get("selection") or {}), **changes.get("selection", {})}
    merged = {**settings, **changes}
    return {**merged, "selection": selection} if selection else merged


def _copies(session: Session, of_id: UUID, for_id: UUID) -> list[ConceptPicture]:
    """The same pictures with the captions that people wrote, as those of another concept."""
    rows = session.scalars(
        select(ConceptPicture).where(ConceptPicture.concept_id == of_id).order_by(ConceptPicture.position)
    )
    return [
        ConceptPicture(
            concept_id=for_id,
            position=row.position,
            blob_sha256=row.blob_sha256,
            file_name=row.file_name,
            width_px=row.width_px,
            height_px=row.height_px,
            caption=row.caption,
        )
        for row in rows
    ]
