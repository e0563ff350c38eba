"""Checkpoints of learnings: stored as blobs, the newest named by the job, the one before it removed."""

import logging
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.blobs import Blob, keep
from app.errors import NotFound
from app.jobs.claims import keep_checkpoint
from app.jobs.models import Job
from app.storage import DamagedBlob
from worker.hands import Hold
from worker.transactions import transact

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/x-palimpsest-checkpoint"


def store_checkpoint(worker: "Worker", hold: Hold, data: bytes, before: str | None, *, is_further: bool) -> str | None:
    """Make `data` what a later attempt goes on from, in the place of `before`; returns the digest of what it is now.

    That is `before` where the storage cannot be used: what is being learned goes on, and may be stored the next time.
    is_further: as `claims.keep_checkpoint` has it.
    """

    def write(session: Session) -> str:
        digest = keep(session, worker.store, data, MEDIA_TYPE)
        keep_checkpoint(session, hold.claim, digest, is_further=is_further)
        return digest

    try:
        worker.store.put(data)  # outside of the transaction, as it may be large and waits for the disk
        digest = transact(worker.sessions, write)
    except OSError as error:
        log.warning("A checkpoint could not be stored; the one before it must do: %s", error)
        return before
    if before is not None and before != digest:
        forget_checkpoint(worker, before)
    return digest


def forget_checkpoint(worker: "Worker", digest: str) -> None:
    """Remove a checkpoint that nobody goes on from any more. One of SD 1.5 has tens of megabytes, and many are made."""

    def remove(session: Session) -> None:
        unused = ~exists().where(Job.checkpoint_sha256 == digest)
        if session.scalar(delete(Blob).where(Blob.sha256 == digest, unused).returning(Blob.sha256)):
            worker.store.remove(digest)  # while the row is held: whoever stores the same bytes waits, and stores them

    try:
        transact(worker.sessions, remove, patience_s=1)
    except IntegrityError:
        log.info("The checkpoint %s is still in use.", digest[:12])
    except Exception:  # whatever is left behind, the collector finds
        log.warning("The checkpoint %s could not be removed.", digest[:12], exc_info=True)


def load_checkpoint(worker: "Worker", digest: str | None) -> bytes | None:
    """The checkpoint's bytes; None when there is none, or it is lost, so that the learning begins anew."""
    if digest is None:
        return None
    try:
        return worker.store.get(digest)
    except (NotFound, DamagedBlob) as error:
        log.warning("A checkpoint cannot be used, so the learning begins anew: %s", error)
        return None
