"""What a learning is about, read from the database and the store: its pictures, and what it is learned on top of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import UUID

from PIL import Image as PillowImage
from PIL.Image import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.concepts.models import Concept, ConceptPicture
from app.histories.models import BaseModelRow, History
from app.jobs.claims import check_held
from app.jobs.models import LEARNED_ON, Job, JobEvent
from app.jobs.service import captions_of
from app.storage import BlobStore
from cns.errors import CnsError
from cns.pictures import flatten
from cns.teaching import Lesson
from worker.attempt import check_base
from worker.errors import ClaimGone
from worker.hands import Hold
from worker.lineage import Ancestor, lineage
from worker.transactions import transact

if TYPE_CHECKING:
    from worker.process import Worker


@dataclass(frozen=True)
class Task:
    """One learning: the rows it is about, and the line it is learned on top of."""

    job_id: UUID
    owner_id: UUID
    history_id: UUID
    concept_id: UUID
    name: str
    class_noun: str
    pictures: tuple[tuple[str, str | None], ...]  # digest of the file, caption
    line: tuple[Ancestor, ...]
    changes: dict[str, Any]
    checkpoint_sha256: str | None
    earlier: dict[str, Any] = field(default_factory=dict)  # `Job.progress` of an attempt before this one

    @property
    def parent_id(self) -> UUID | None:
        return self.line[-1].version_id if self.line else None

    @property
    def digests(self) -> tuple[str, ...]:
        return tuple(ancestor.delta_sha256 for ancestor in self.line)


def read_task(worker: "Worker", session: Session, job_id: UUID) -> Task:
    """The learning of a job that was claimed. It goes on where its checkpoint was taken, else it begins on the head."""
    job = session.get(Job, job_id)
    if job is None or job.concept_id is None:
        raise ClaimGone
    history = session.get_one(History, job.history_id)
    check_base(worker, history, session.get(BaseModelRow, history.base_id))
    concept = session.get_one(Concept, job.concept_id)
    parent = history.head_id
    if job.checkpoint_sha256 is not None and LEARNED_ON in job.progress:
        parent = UUID(job.progress[LEARNED_ON]) if job.progress[LEARNED_ON] else None
    line = lineage(session, parent)
    if any(ancestor.name == concept.name for ancestor in line):
        raise CnsError(
            f"This line of versions already knows <{concept.name}>: choose another name, or go back to before it."
        )
    return Task(
        job_id=job.id,
        owner_id=job.owner_id,
        history_id=history.id,
        concept_id=concept.id,
        name=concept.name,
        class_noun=concept.class_noun,
        pictures=pictures_of(session, concept.id),
        line=tuple(line),
        changes=job.settings,
        checkpoint_sha256=job.checkpoint_sha256,
        earlier=job.progress,
    )


def pictures_of(session: Session, concept_id: UUID) -> tuple[tuple[str, str | None], ...]:
    """Digest and caption of every picture that a concept was taught with, in order."""
    rows = session.execute(
        select(ConceptPicture.blob_sha256, ConceptPicture.caption)
        .where(ConceptPicture.concept_id == concept_id)
        .order_by(ConceptPicture.position)
    )
    return tuple((digest, caption) for digest, caption in rows)


def read_picture(store: BlobStore, digest: str) -> Image:
    """A stored picture as RGB."""
    return open_picture(store.get(digest))


def open_picture(data: bytes) -> Image:
    """As RGB. Whatever Pillow raises for bytes that are no picture, an OSError mostly."""
    with PillowImage.open(BytesIO(data)) as picture:
        return flatten(picture)


def read_lesson(worker: "Worker", task: Task) -> Lesson:
    """What is to be taught, with the captions that people wrote; LessonRefused when it cannot be taught as it is."""
    pictures = tuple(read_picture(worker.store, digest) for digest, _ in task.pictures)
    return Lesson(task.name, task.class_noun, pictures)


def tell_captions(worker: "Worker", hold: Hold, captions: Sequence[str]) -> None:
    """Tell what the pictures are learned with, once, however often it is begun. LostClaim for an attempt that is over.

    captions: one for each picture, with the token in it.
    """

    def write(session: Session) -> None:
        check_held(session, hold.claim)
        if captions_of(session, hold.job_id) != list(captions):
            session.add(JobEvent(job_id=hold.job_id, kind="captions", data={"captions": list(captions)}))

    transact(worker.sessions, write)
    worker.bell.wake(hold.job_id)
