"""Captions offered for pictures that wait on the teaching page: asked of a worker, shown when they come, never needed.

A row of `UploadCaption` says that a caption is wanted and, later, what it is; the message only rings. No worker may
answer: then the field stays empty, and the caption is written when learning begins, as without all this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.concepts.models import Upload, UploadCaption
from app.db import UnitOfWork
from app.histories.service import get_history
from app.queue import CAPTION, queue_of

SLOT = "{noun}"
"""Where the class noun goes in a caption that is kept: people may still change their mind about it."""
RING_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True)
class Offer:
    """The caption of one picture as a form shows it.

    text: what stands in the field. offered: what we put there; equal to the text, nobody has typed anything.
    template: what a worker wrote, with `SLOT` in it; "" when it has nothing to offer, None while it may still come.
    """

    text: str = ""
    offered: str = ""
    template: str | None = None


def captions_for(uow: UnitOfWork, owner_id: UUID, history_id: UUID) -> dict[UUID, str | None]:
    """Upload -> its caption with `SLOT` in it, for all that wait, by the captioner of the history's base.

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
        overdue = UploadCaption.caption.is_(None) & (UploadCaption.asked_at < func.now() - RING_AGAIN)
        ringing = session.scalars(
            update(UploadCaption).where(mine, overdue).values(asked_at=func.now()).returning(UploadCaption.upload_id)
        ).all()
        wanted = select(Upload.id, literal(base_id)).where(Upload.id.in_(uploads))
        made = insert(UploadCaption).from_select(["upload_id", "base_id"], wanted).on_conflict_do_nothing()
        ringing = [*ringing, *session.scalars(made.returning(UploadCaption.upload_id))]
        written = written_captions(session, base_id, uploads)
        if ringing:
            uow.after_commit(CAPTION, queue_of(CAPTION, base_id), base_id=base_id)
        uow.commit()
        return written


def written_captions(session: Session, base_id: str, uploads: Sequence[UUID]) -> dict[UUID, str | None]:
    """As `captions_for`, of these uploads, without asking for any."""
    asked = select(UploadCaption.upload_id, UploadCaption.caption)
    known = session.execute(asked.where(UploadCaption.base_id == base_id, UploadCaption.upload_id.in_(uploads)))
    return dict(known.all())


def offers(uploads: Sequence[UUID], written: Mapping[UUID, str | None], values: Mapping[str, str]) -> dict[UUID, Offer]:
    """What stands in the caption's field of each upload, from the form as it was sent: what was typed is kept."""
    noun = values.get("class_noun", "").strip()
    made = {}
    for upload in uploads:
        text, before = values.get(f"caption-{upload}", "").strip(), values.get(f"offered-{upload}", "").strip()
        template = written.get(upload)
        if text == before and template and noun:
            text = before = filled(template, noun)
        made[upload] = Offer(text, before, template)
    return made


def filled(template: str, noun: str) -> str:
    """A caption about a thing of that noun."""
    return template.replace(SLOT, " ".join(noun.split()), 1)
