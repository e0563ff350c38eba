"""Captions offered for pictures that wait on the teaching page: asked of a worker, shown when they come, never needed.

A row of `UploadCaption` says that a caption is wanted and, later, what it is; the message only rings. No worker may
answer: then the field stays empty, and the caption is written when learning begins, as without all this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.concepts.models import Upload, UploadCaption
from app.db import UnitOfWork
from app.histories.service import get_history
from app.queue import CAPTION, queue_of
from app.wording import find_frame, say_of

SLOT = "{noun}"
"""Where the class noun goes in a caption that is kept: people may still change their mind about it."""
RING_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True)
class Written:
    """What a worker wrote about a picture. template: about a thing, with `SLOT` in it. subject: what it shows, for
    whoever teaches how it is drawn. Either is "" when there is nothing to offer.
    """

    template: str = ""
    subject: str = ""

    def about(self, noun: str, facts: Mapping[str, Any]) -> str:
        """The caption for a concept of that noun; facts: of the base, which say how a manner is spoken of."""
        noun, frame = " ".join(noun.split()), find_frame(noun, facts)
        if frame is None:
            return self.template.replace(SLOT, noun, 1)
        return say_of(frame, noun, self.subject) if self.subject else ""


@dataclass(frozen=True)
class Offer:
    """The caption of one picture as a form shows it.

    text: what stands in the field. offered: what we put there; equal to the text, nobody has typed anything.
    written: what a worker wrote; None while it may still come.
    """

    text: str = ""
    offered: str = ""
    written: Written | None = None


def captions_for(uow: UnitOfWork, owner_id: UUID, history_id: UUID) -> dict[UUID, Written | None]:
    """Upload -> what was written about it, for all that wait, by the captioner of the history's base.

    Those that were never asked for are asked for now, and None like all that nobody has written yet. Whoever asks again
    after a while rings again, as the message may have been lost.
    """
    with uow:
        session = uow.session
        base_id = get_history(session, owner_id, history_id).base_id
        # Held, so that none of them goes before it has its row.
        waiting = select(Upload.id).where(Upload.owner_id == owner_id).with_for_update(read=True, key_share=True)
        uploads = session.scalars(waiting).all()
        mine = (UploadCaption.base_id == base_id) & UploadCaption.upload_id.in_(uploads)
        overdue = UploadCaption.caption.is_(None) & (UploadCaption.rung_at < func.now() - RING_AGAIN)
        ringing = session.scalars(
            update(UploadCaption).where(mine, overdue).values(rung_at=func.now()).returning(UploadCaption.upload_id)
        ).all()
        wanted = select(Upload.id, literal(base_id)).where(Upload.id.in_(uploads))
        made = insert(UploadCaption).from_select(["upload_id", "base_id"], wanted).on_conflict_do_nothing()
        ringing = [*ringing, *session.scalars(made.returning(UploadCaption.upload_id))]
        written = written_captions(session, base_id, uploads)
        if ringing:
            uow.after_commit(CAPTION, queue_of(CAPTION, base_id), base_id=base_id)
        uow.commit()
        return written


def written_captions(session: Session, base_id: str, uploads: Sequence[UUID]) -> dict[UUID, Written | None]:
    """As `captions_for`, of these uploads, without asking for any."""
    asked = select(UploadCaption.upload_id, UploadCaption.caption, UploadCaption.subject)
    known = session.execute(asked.where(UploadCaption.base_id == base_id, UploadCaption.upload_id.in_(uploads)))
    return {upload: None if caption is None else Written(caption, subject) for upload, caption, subject in known}


def offers(
    uploads: Sequence[UUID], known: Mapping[UUID, Written | None], values: Mapping[str, str], facts: Mapping[str, Any]
) -> dict[UUID, Offer]:
    """What stands in the caption's field of each upload, from the form as it was sent: what was typed is kept.

    facts: of the base.
    """
    noun = values.get("class_noun", "").strip()
    made = {}
    for upload in uploads:
        text, before = values.get(f"caption-{upload}", "").strip(), values.get(f"offered-{upload}", "").strip()
        written = known.get(upload)
        if text == before and written is not None and noun:
            text = before = written.about(noun, facts)
        made[upload] = Offer(text, before, written)
    return made
