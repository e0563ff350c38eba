"""The examination after a learning, as a turn on the engine that lets others go on between its steps."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from PIL.Image import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import AppError
from app.histories.models import Version as VersionRow
from app.storage import DamagedBlob
from cns.compose import Version, extend
from cns.delta import Delta
from cns.errors import CnsError
from cns.examination import ConceptScores, Examination, StudiedConcept, examine
from cns.pictures import small_copy
from cns.teaching import Lesson
from worker.errors import Dropped
from worker.hands import Hold
from worker.lessons import Task, pictures_of, read_picture
from worker.transactions import transact

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)
TOGETHER = 16  # pictures; always as many, so that an examination measures the same whatever the device had room for


def examination_work(
    worker: "Worker",
    hold: Hold,
    task: Task,
    lesson: Lesson,
    before: Version,
    delta: Delta,
    on_step: Callable[[int, int], None],
    also: Sequence[StudiedConcept] = (),
) -> Callable[[], Examination | None] | None:
    """What is to be called on the engine's thread; None where the base brings no judge.

    also: concepts of `before` that no version was published of yet, with their scores.

    Where something is missing or fails, nothing is measured: a learning is not thrown away for that.
    """
    equipment = worker.equipment
    judge = equipment.judge
    if judge is None:
        return None
    try:
        earlier = [*_earlier(worker, task), *also]
    except (CnsError, AppError, DamagedBlob) as error:
        log.warning("Nothing was measured: %s", error)
        return None

    newcomer = studied_as(lesson.name, lesson.class_noun, lesson.pictures)

    def step(done: int, total: int) -> None:
        on_step(done, total)
        worker.engine.pause()
        hold.check()

    def work() -> Examination | None:
        try:
            return examine(
                equipment.base,
                judge,
                before,
                extend(equipment.base, before, [delta]),
                newcomer,
                earlier,
                generic_prompts=equipment.generic_prompts,
                settings=equipment.examination,
                thresholds=equipment.thresholds,
                usual=equipment.learning,
                likeness=equipment.likeness,
                batch=min(TOGETHER, worker.settings.batch_rows),
                made=worker.made,
                on_step=step,
            )
        except Dropped:
            raise
        except Exception as error:
            log.warning("Nothing was measured: %r", error, exc_info=not isinstance(error, CnsError))
            return None

    return work


def _earlier(worker: "Worker", task: Task) -> list[StudiedConcept]:
    """The concepts of the line that was learned on, with their scores right after each was learned."""
    asked = select(VersionRow.id, VersionRow.examination).where(
        VersionRow.id.in_([ancestor.version_id for ancestor in task.line])
    )

    def read(session: Session) -> tuple[dict[UUID, dict[str, Any]], list[list[str]]]:
        digests = [[digest for digest, _ in pictures_of(session, ancestor.concept_id)] for ancestor in task.line]
        return dict(session.execute(asked).all()), digests

    examined, digests = transact(worker.sessions, read)
    studied = []
    for ancestor, own in zip(task.line, digests, strict=True):
        then = examined.get(ancestor.version_id)
        scores = Examination.from_json(then).concepts.get(ancestor.name) if then else None
        pictures = (read_picture(worker.store, digest) for digest in own)
        studied.append(studied_as(ancestor.name, ancestor.class_noun, pictures, scores))
    return studied


def studied_as(
    name: str, class_noun: str, pictures: Iterable[Image], right_after: ConceptScores | None = None
) -> StudiedConcept:
    """A concept with small copies of its pictures: twenty large ones of each of many concepts would fill the memory.

    The newcomer has them too, so that what is measured on its day is measured on the same pictures later.
    """
    return StudiedConcept(name, class_noun, tuple(small_copy(picture) for picture in pictures), right_after)
