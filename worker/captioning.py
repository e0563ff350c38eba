"""Captions for pictures that wait on somebody's teaching page: a look at each, in a turn of the engine.

Nothing rests on them. What cannot be written is left to the learning itself, and nobody's job waits for it.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from PIL import Image
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.concepts.captions import SLOT, Written
from app.concepts.models import Upload, UploadCaption
from cns.captions import Captioner, subject_of, without_noun
from worker.engine import EngineStopped
from worker.lessons import read_picture
from worker.transactions import AWAY, transact

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)
ANY = "thing"  # what every picture shows, as its noun may not be known yet
IN_ANY_MANNER = "picture"  # how it may be drawn
AT_ONCE = 5  # pictures of one turn: steps of others wait for it
LONGEST = 400  # leaves room for a noun in what a caption may have
LOOK_S = 0.2


def caption_uploads(worker: "Worker") -> None:
    """Write every caption that is wanted of this base. One thread at a time does; others leave it to that one."""
    if not worker.captioning.acquire(blocking=False):
        return
    try:
        while not worker.hands.stopping.is_set():
            wanted = transact(worker.sessions, lambda session: _wanted(worker, session), patience_s=0)
            if not wanted:
                return
            written = _written(worker, wanted)
            transact(worker.sessions, partial(_keep, worker, written), patience_s=5)
    except AWAY as error:
        log.warning("The database is away, so captions wait: %s", str(error).splitlines()[0])
    except EngineStopped:
        log.info("The worker stops, so captions wait.")
    finally:
        worker.captioning.release()


def _wanted(worker: "Worker", session: Session) -> list[tuple[UUID, str]]:
    """Uploads without a caption, with the digests of their files: those asked for first."""
    rows = session.execute(
        select(UploadCaption.upload_id, Upload.blob_sha256)
        .join(Upload, Upload.id == UploadCaption.upload_id)
        .where(UploadCaption.base_id == worker.equipment.base.id, UploadCaption.caption.is_(None))
        .order_by(UploadCaption.asked_at, UploadCaption.upload_id)
        .limit(AT_ONCE)
    )
    return [(upload_id, digest) for upload_id, digest in rows]


def _written(worker: "Worker", wanted: Sequence[tuple[UUID, str]]) -> dict[UUID, Written]:
    """What is to be said of each; nothing where there is nothing to offer."""
    captions = dict.fromkeys((upload_id for upload_id, _ in wanted), Written())
    try:
        pictures = [read_picture(worker.store, digest) for _, digest in wanted]
        turn = worker.engine.turn(partial(_look, worker.equipment.captioner, pictures))
        while not wait([turn], timeout=LOOK_S).done:
            if worker.hands.stopping.is_set():
                raise EngineStopped("The worker stops.")
        for (upload_id, _), written in zip(wanted, turn.result(), strict=True):
            captions[upload_id] = written
    except EngineStopped:
        raise
    except Exception:  # whatever it is, it would be so again
        log.exception("Pictures have no caption; it is left to their learning.")
    return captions


def _look(captioner: Captioner, pictures: Sequence[Image.Image]) -> list[Written]:
    templates = [without_noun(caption, ANY, SLOT) for caption in captioner.caption(pictures, ANY)]
    subjects = [subject_of(caption, IN_ANY_MANNER) for caption in captioner.caption(pictures, IN_ANY_MANNER)]
    return [
        Written(*("" if len(words) > LONGEST else words for words in both))
        for both in zip(templates, subjects, strict=True)
    ]


def _keep(worker: "Worker", known: Mapping[UUID, Written], session: Session) -> None:
    """Uploads that have gone meanwhile took their row with them."""
    for upload_id, written in known.items():
        mine = (UploadCaption.upload_id == upload_id) & (UploadCaption.base_id == worker.equipment.base.id)
        values = {"caption": written.template, "subject": written.subject}
        session.execute(update(UploadCaption).where(mine, UploadCaption.caption.is_(None)).values(**values))
