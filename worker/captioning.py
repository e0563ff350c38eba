"""Captions for pictures that wait on somebody's teaching page: a look at each, in a turn of the engine.

Nothing rests on them. What cannot be written is left to the learning itself, and nobody's job waits for it. While the
storage or the database is away nothing is said of any picture: whoever looks at the page rings again.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from PIL import Image
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.concepts.captions import SLOT, Written
from app.concepts.models import Upload, UploadCaption
from app.errors import NotFound
from app.storage import DamagedBlob
from cns.captions import Captioner, subject_of, without_noun
from worker.engine import EngineStopped
from worker.lessons import open_picture
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
    except OSError as error:
        log.warning("The storage cannot be used, so captions wait: %s", error)
    except EngineStopped:
        log.info("The worker stops, so captions wait.")
    finally:
        worker.captioning.release()


def _wanted(worker: "Worker", session: Session) -> list[tuple[UUID, str]]:
    """Uploads without a caption, with the digests of their files: everybody's first, then everybody's second, and of
    equals those asked for first.
    """
    order = UploadCaption.asked_at, UploadCaption.upload_id
    rows = session.execute(
        select(UploadCaption.upload_id, Upload.blob_sha256)
        .join(Upload, Upload.id == UploadCaption.upload_id)
        .where(UploadCaption.base_id == worker.equipment.base.id, UploadCaption.caption.is_(None))
        .order_by(func.row_number().over(partition_by=Upload.owner_id, order_by=order), *order)
        .limit(AT_ONCE)
    )
    return [(upload_id, digest) for upload_id, digest in rows]


def _written(worker: "Worker", wanted: Sequence[tuple[UUID, str]]) -> dict[UUID, Written]:
    """What is to be said of each; nothing where there is nothing to offer. OSError while the storage is away."""
    read = {upload_id: _read(worker, digest) for upload_id, digest in wanted}
    pictures = {upload_id: picture for upload_id, picture in read.items() if picture is not None}
    return dict.fromkeys(read, Written()) | _look_together(worker, pictures)


def _read(worker: "Worker", digest: str) -> Image.Image | None:
    """None for one that is missing or damaged: it would be so again."""
    try:
        data = worker.store.get(digest)
    except (NotFound, DamagedBlob) as error:
        log.warning("A picture has no caption: %s", error)
        return None
    try:
        return open_picture(data)
    except Exception:  # whatever Pillow says of it
        log.exception("A picture has no caption, as it cannot be opened.")
        return None


def _look_together(worker: "Worker", pictures: Mapping[UUID, Image.Image]) -> dict[UUID, Written]:
    """In one turn; where that goes wrong, each in its own, so that none goes without for another's sake."""
    if not pictures:
        return {}
    try:
        return dict(zip(pictures, _look_in_turn(worker, list(pictures.values())), strict=True))
    except EngineStopped:
        raise
    except Exception:
        if len(pictures) == 1:  # whatever it is, it would be so again
            log.exception("A picture has no caption; it is left to its learning.")
            return {}
        log.warning("%d pictures cannot be captioned together, so each is by itself.", len(pictures), exc_info=True)
    written: dict[UUID, Written] = {}
    for upload_id, picture in pictures.items():
        written |= _look_together(worker, {upload_id: picture})
    return written


def _look_in_turn(worker: "Worker", pictures: Sequence[Image.Image]) -> list[Written]:
    turn = worker.engine.turn(partial(_look, worker.equipment.captioner, pictures))
    while not wait([turn], timeout=LOOK_S).done:
        if worker.hands.stopping.is_set():
            raise EngineStopped("The worker stops.")
    return turn.result()


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
