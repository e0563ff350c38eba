"""Concepts: checked pictures become a learning job."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app import blobs
from app.concepts.models import Concept, ConceptPicture, Upload
from app.config import Settings
from app.db import UnitOfWork
from app.errors import Conflict, Invalid, NotFound, TooMany
from app.histories.models import History
from app.histories.service import get_history
from app.histories.versions import known_names
from app.idempotency import Once, commit_once
from app.jobs.claims import open_jobs_of
from app.jobs.estimates import note_estimate
from app.jobs.models import OPEN, Job, JobKind
from app.jobs.queueing import queue_job
from app.pictures import CheckedPicture
from app.storage import BlobStore
from app.texts import one_line

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
LONGEST_NOUN = 60
LONGEST_CAPTION = 500
UPLOADS_KEPT = timedelta(days=1)


def start_learning(
    uow: UnitOfWork,
    store: BlobStore,
    limits: Settings,
    owner_id: UUID,
    history_id: UUID,
    *,
    name: str,
    class_noun: str,
    pictures: Sequence[CheckedPicture] = (),
    upload_ids: Sequence[UUID] = (),
    captions: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
    once: Once | None = None,
) -> Job:
    """Store the pictures and queue a job that learns from them, after the learnings of that history asked for before.

    pictures or upload_ids: new ones, or those that were uploaded before and wait. captions: none, or one for each
    picture; an empty one is left to the captioner.
    """
    name, class_noun, said = check_lesson(name, class_noun, len(pictures) + len(upload_ids), captions, limits)
    with uow:
        session = uow.session
        history = get_history(session, owner_id, history_id, lock=True)
        if once and (done := once.find(session)):  # under the lock: the same request may be at it at this moment
            return session.get_one(Job, done)
        check_open_jobs(session, owner_id, limits)
        check_name_is_free(session, history, name)
        concept = Concept(history_id=history.id, name=name, class_noun=class_noun)
        session.add(concept)
        session.flush()
        kept = _rows_of(session, store, pictures)
        kept += [_row_of_upload(session, owner_id, upload_id) for upload_id in upload_ids]
        for position, row in enumerate(kept):
            row.concept_id, row.position = concept.id, position
            row.caption = said[position] if said else None
            session.add(row)
        job = queue_learning(uow, limits, owner_id, concept, settings or {})
        if upload_ids:
            session.execute(delete(Upload).where(Upload.id.in_(upload_ids), Upload.owner_id == owner_id))
        return session.get_one(Job, commit_once(uow, once, job.id), populate_existing=True)


def check_lesson(
    name: str, class_noun: str, count: int, captions: Sequence[str], limits: Settings
) -> tuple[str, str, list[str | None]]:
    """Name, class noun and captions as they are kept. Invalid for what cannot be taught with any pictures, of which
    there are `count`.
    """
    name = name.strip().removeprefix("<").removesuffix(">")
    class_noun = one_line(class_noun, "class_noun", LONGEST_NOUN, "A class noun")
    _check_words(name, class_noun)
    _check_count(count, len(captions), limits)
    return name, class_noun, [one_line(said, "captions", LONGEST_CAPTION, "A caption") or None for said in captions]


def queue_learning(
    uow: UnitOfWork, limits: Settings, owner_id: UUID, concept: Concept, settings: dict[str, Any]
) -> Job:
    """The job that learns a concept whose pictures are there. To be committed by the caller."""
    job = queue_job(
        uow,
        Job(
            owner_id=owner_id,
            history_id=concept.history_id,
            kind=JobKind.LEARN.value,
            concept_id=concept.id,
            settings=settings,
            max_attempts=limits.max_attempts,
        ),
    )
    note_estimate(uow.session, job)
    return job


def _check_words(name: str, class_noun: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid("A name has 1 to 60 letters, digits, - or _; in prompts it is written <name>.", field="name")
    if not class_noun:
        raise Invalid(f"What kind of thing is {name}? A class noun is needed, such as dog or mug.", field="class_noun")
    if "<" in class_noun or ">" in class_noun:
        raise Invalid("The class noun is an ordinary word, without < and >.", field="class_noun")


def _check_count(count: int, captions: int, limits: Settings) -> None:
    if count == 0:
        raise Invalid("At least one picture is needed, and 3 to 10 are best.", field="pictures")
    if count > limits.max_files:
        raise Invalid(f"{count} pictures are too many: at most {limits.max_files} are taken.", field="pictures")
    if captions not in (0, count):
        raise Invalid(f"{count} pictures take {count} captions or none, not {captions}.", field="captions")


def check_name_is_free(session: Session, history: History, name: str) -> None:
    """A line of versions knows each name once; a learning that waits has its name already."""
    if name in known_names(session, history, history.head_id):
        raise Conflict(f"This version knows <{name}> already; a new concept needs another name.", field="name")
    waiting = session.scalar(
        select(func.count())
        .select_from(Job)
        .join(Concept, Concept.id == Job.concept_id)
        .where(Job.history_id == history.id, Job.state.in_([state.value for state in OPEN]), Concept.name == name)
    )
    if waiting:
        raise Conflict(f"<{name}> is being learned already.", field="name")


def check_open_jobs(session: Session, owner_id: UUID, limits: Settings) -> None:
    if open_jobs_of(session, owner_id) >= limits.max_open_jobs:
        raise TooMany(f"You have {limits.max_open_jobs} jobs waiting or running; let some end, or cancel them.")


def _rows_of(session: Session, store: BlobStore, pictures: Sequence[CheckedPicture]) -> list[ConceptPicture]:
    """In the order of the pictures. Their blobs are kept in that of their digests: two that teach the same pictures at
    once, each in an order of its own, would wait for each other.
    """
    in_turn = sorted(range(len(pictures)), key=lambda place: pictures[place].sha256)
    rows = {place: _row_of(session, store, pictures[place]) for place in in_turn}
    return [rows[place] for place in range(len(pictures))]


def _row_of(session: Session, store: BlobStore, picture: CheckedPicture) -> ConceptPicture:
    return ConceptPicture(
        blob_sha256=blobs.keep(session, store, picture.png, "image/png"),
        file_name=picture.file_name,
        width_px=picture.width_px,
        height_px=picture.height_px,
    )


def _row_of_upload(session: Session, owner_id: UUID, upload_id: UUID) -> ConceptPicture:
    upload = session.get(Upload, upload_id)
    if upload is None or upload.owner_id != owner_id:
        raise Invalid("One of the uploaded pictures is not there any more. Upload it again.", field="pictures")
    return ConceptPicture(
        blob_sha256=upload.blob_sha256,
        file_name=upload.file_name,
        width_px=upload.width_px,
        height_px=upload.height_px,
    )


# --- uploads that wait ---------------------------------------------------------------------------------------------


def keep_upload(uow: UnitOfWork, store: BlobStore, owner_id: UUID, picture: CheckedPicture) -> Upload:
    """A checked picture that waits for Start."""
    with uow:
        upload = Upload(
            owner_id=owner_id,
            blob_sha256=blobs.keep(uow.session, store, picture.png, "image/png"),
            file_name=picture.file_name,
            width_px=picture.width_px,
            height_px=picture.height_px,
            is_blurred=picture.is_blurred,
        )
        uow.session.add(upload)
        uow.commit()
        return upload


def get_upload(session: Session, owner_id: UUID, upload_id: UUID) -> Upload:
    upload = session.get(Upload, upload_id)
    if upload is None or upload.owner_id != owner_id:
        raise NotFound("There is no such upload.")
    return upload


def drop_upload(uow: UnitOfWork, owner_id: UUID, upload_id: UUID) -> str:
    """Returns the digest of its file, which may be needed no more."""
    with uow:
        upload = get_upload(uow.session, owner_id, upload_id)
        uow.session.delete(upload)
        uow.commit()
        return upload.blob_sha256


def drop_old_uploads(session: Session) -> None:
    """Forget uploads that nobody started a learning with. To be committed by the caller."""
    session.execute(delete(Upload).where(Upload.created_at < func.now() - UPLOADS_KEPT))


# --- reading -------------------------------------------------------------------------------------------------------


def get_concept(session: Session, owner_id: UUID, concept_id: UUID) -> Concept:
    concept = session.get(Concept, concept_id)
    if concept is None or session.get_one(History, concept.history_id).owner_id != owner_id:
        raise NotFound("There is no such concept.")
    return concept


def pictures_of(session: Session, concept_id: UUID) -> Sequence[ConceptPicture]:
    return session.scalars(
        select(ConceptPicture).where(ConceptPicture.concept_id == concept_id).order_by(ConceptPicture.position)
    ).all()


def get_picture(session: Session, owner_id: UUID, picture_id: UUID) -> ConceptPicture:
    picture = session.get(ConceptPicture, picture_id)
    if picture is None:
        raise NotFound("There is no such picture.")
    get_concept(session, owner_id, picture.concept_id)
    return picture
