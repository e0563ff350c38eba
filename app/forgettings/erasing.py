"""Erasing a concept: first the rows of all that knows it, in one transaction, then the files, then the proof.

What knows a concept are the versions that learned it and all made on top of them, in every branch: their deltas with
the concept's token, the examinations in their rows, the samples and checkpoints of their learnings, and every picture
made at one of them, since its file names all concepts of its version. And the pictures that it was taught with. It goes
by the name within its history: what was learned again, to be better, is the same concept in another row. Of files that
no row names any more nobody can tell what they show, so with these all of them go.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.blobs import Blob
from app.collect import references, remove_unused
from app.concepts.models import Concept, ConceptPicture
from app.db import Sessions, among
from app.errors import Conflict
from app.forgettings.models import Forgetting
from app.generations.models import Generation, Image
from app.histories.models import Version
from app.jobs.models import LANE, LEARNED_ON, OPEN, Job, JobEvent, JobSample
from app.storage import BlobStore

_DIGEST = re.compile(r"[0-9a-f]{64}")  # in the name of a file


@dataclass(frozen=True)
class Doomed:
    """Bytes that are to go. what: in plain words, such as "the delta of version 2"."""

    sha256: str
    what: str


class NotErased(Conflict):
    """Something of what was erased is still there."""


def knowing(session: Session, history_id: UUID, name: str) -> Sequence[Version]:
    """The versions of a history that know a concept of that name, in every branch, oldest first. They stay as they are
    until the transaction's end: whoever wants to build on one of them waits, and then finds that it is gone.
    """
    learned = select(Version.id).join(Concept, Concept.id == Version.concept_id)
    found = learned.where(Concept.history_id == history_id, Concept.name == name).cte("knowing", recursive=True)
    found = found.union(select(Version.id).join(found, Version.parent_id == found.c.id))
    asked = select(Version).where(Version.id.in_(select(found.c.id))).order_by(Version.number)
    return session.scalars(asked.with_for_update()).all()


def erase_rows(session: Session, forgetting: Forgetting) -> list[Doomed]:
    """Delete every row that knows the concept; returns the bytes that they named. To be committed by the caller.

    Head must have left those versions. Jobs that need one of them end here: one that waits is gone, one that runs finds
    that it is no longer its worker's, and what it has made is dropped. Learnings that wait begin anew, and whatever
    failed and kept a checkpoint of one of those versions loses it.
    """
    versions = knowing(session, forgetting.history_id, forgetting.name)
    ids = [version.id for version in versions]
    concepts = _concepts(session, forgetting)
    made_here = select(Generation.job_id).where(among(Generation.version_id, ids))
    makers = [version.job_id for version in versions if version.job_id]
    began_here = and_(
        Job.history_id == forgetting.history_id,
        Job.kind.in_([kind.value for kind in LANE]),
        Job.id != forgetting.job_id,
        among(Job.progress[LEARNED_ON].astext, [str(one) for one in ids]),
    )
    gone = or_(among(Job.id, makers), Job.id.in_(made_here), among(Job.concept_id, concepts))
    jobs = session.execute(select(Job.id, Job.checkpoint_sha256, gone).where(or_(gone, began_here)).with_for_update())
    rows = jobs.all()
    doomed = [
        *(Doomed(version.delta_sha256, f"the delta of version {version.number}") for version in versions),
        *(Doomed(digest, "a checkpoint") for _, digest, _ in rows if digest),
        *_pictures(session, concepts, [job_id for job_id, _, _ in rows]),
    ]
    # Learnings that stay keep nothing of the version that they had begun on.
    begin_anew = [job_id for job_id, _, is_gone in rows if not is_gone]
    session.execute(delete(JobSample).where(among(JobSample.job_id, begin_anew)))
    _tell_anew(session, begin_anew)
    session.execute(
        update(Job)
        .where(among(Job.id, begin_anew))
        .values(checkpoint_sha256=None, progress={}, stage="", step=0, steps_total=0)
        .execution_options(synchronize_session=False)
    )
    # Each statement by itself, and not by the session: what depends on a row goes by the database's own cascades.
    for model, which in (
        (Job, [job_id for job_id, _, is_gone in rows if is_gone]),
        (Version, ids),
        (Concept, concepts),
    ):
        session.execute(delete(model).where(among(model.id, which)).execution_options(synchronize_session=False))
    session.expire_all()
    return doomed


def _tell_anew(session: Session, job_ids: Sequence[UUID]) -> None:
    """Of the try before, whoever follows one of these jobs is told nothing more: its samples are gone, and it has come
    no further than the queue. Captions stay, as they are of the job's own pictures.
    """
    session.execute(delete(JobEvent).where(among(JobEvent.job_id, job_ids), JobEvent.kind != "captions"))
    for job_id, state, error in session.execute(select(Job.id, Job.state, Job.error).where(among(Job.id, job_ids))):
        told = {"state": state} if error is None else {"state": state, "error": error}
        session.add(JobEvent(job_id=job_id, kind="state", data=told))
    session.flush()


def _concepts(session: Session, forgetting: Forgetting) -> list[UUID]:
    """All of that name, what was taught and never learned too; but for what somebody asked for since, to be learned."""
    is_open = exists().where(Job.concept_id == Concept.id, Job.state.in_([state.value for state in OPEN]))
    named = and_(Concept.history_id == forgetting.history_id, Concept.name == forgetting.name)
    return list(session.scalars(select(Concept.id).where(named, ~is_open)))


def _pictures(session: Session, concept_ids: Sequence[UUID], job_ids: Sequence[UUID]) -> list[Doomed]:
    """Those it was taught with, samples of learnings, and pictures that were made."""
    taught = select(ConceptPicture.blob_sha256).where(among(ConceptPicture.concept_id, concept_ids))
    samples = select(JobSample.blob_sha256).where(among(JobSample.job_id, job_ids))
    made = select(Image.blob_sha256).join(Generation, Generation.id == Image.generation_id)
    made = made.where(among(Generation.job_id, job_ids))
    return [
        *(Doomed(digest, "a picture it was taught with") for digest in session.scalars(taught)),
        *(Doomed(digest, "a sample of a learning") for digest in session.scalars(samples)),
        *(Doomed(digest, "a picture made with it") for digest in session.scalars(made)),
    ]


def erase_files(sessions: Sessions, store: BlobStore, doomed: Iterable[Doomed]) -> None:
    """Remove file, thumbnails and row of each, unless another row names the same bytes. Safe to be done twice."""
    for digest in sorted({one.sha256 for one in doomed}):
        remove_unused(sessions, store, digest)


def _count_rows(session: Session, digests: Sequence[str]) -> int:
    """Rows that name these bytes without needing them: what is known of files, and what was told of samples."""
    known = select(func.count()).select_from(Blob).where(among(Blob.sha256, digests))
    named = among(JobEvent.data["sha256"].astext, digests)
    told = select(func.count()).select_from(JobEvent).where(JobEvent.kind == "sample", named)
    return (session.scalar(known) or 0) + (session.scalar(told) or 0)


def prove(session: Session, store: BlobStore, doomed: Sequence[Doomed], versions: Sequence[int]) -> dict[str, Any]:
    """Look in storage and database for all that was erased, and say what was found where. NotErased when it was.

    versions: numbers of those erased. Bytes that other rows name, such as a picture that another concept was taught
    with as well, are listed as still used. In the storage the name of every file is read, thumbnails and unfinished
    files too: each holds the digest of its content.
    """
    what = {one.sha256: one.what for one in doomed}
    is_used = or_(*references())
    still_used = set(session.scalars(select(Blob.sha256).where(among(Blob.sha256, what), is_used)))
    removed = sorted(what.keys() - still_used)
    rows = _count_rows(session, removed)
    names = [file.name for files in (store.blobs, store.thumbnails) for file in files.all()]
    left = {digest for name in names for digest in _DIGEST.findall(name)}.intersection(removed)
    if left or rows:
        count = len(left) or rows
        raise NotErased(f"{count} of the erased files {'is' if count == 1 else 'are'} still there. Try again.")
    return {
        "versions": list(versions),
        "removed": [{"sha256": digest, "what": what[digest]} for digest in removed],
        "still_used": [{"sha256": digest, "what": what[digest]} for digest in sorted(still_used)],
        "files_looked_at": len(names),
        "checked_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
