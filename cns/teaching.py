"""One lesson from beginning to end: captions, selection, learning, examination, and the new version in the history."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from cns.base_model import BaseModel
from cns.captions import Captioner, TemplateCaptioner, with_token
from cns.compose import Version, compose, extend
from cns.damage import find_damage
from cns.delta import Delta
from cns.diagnosis import Finding, Thresholds
from cns.errors import CnsError
from cns.examination import Examination, ExaminationSettings, StudiedConcept, examine
from cns.history import VersionRecord
from cns.history_folder import HistoryFolder
from cns.judge import ImageEncoder, Judge
from cns.learning import Concept, LearningRun, LearningSettings
from cns.phrases import load_calibration_prompts, load_generic_prompts
from cns.pictures import small_copy
from cns.series import MadePictures
from cns.text import TOKEN

log = logging.getLogger(__name__)

OnProgress = Callable[[str, int, int], None]
"""on_progress(stage, done, total); stages are "captions", "selection", "learning", "diagnosis"."""


class LessonRefused(CnsError):
    """A lesson cannot be taught as it is."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Lesson:
    """What is to be taught. captions: one for all pictures, or one for each; without any the captioner writes them."""

    name: str
    class_noun: str
    pictures: tuple[Image.Image, ...]
    captions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not TOKEN.fullmatch(self.token):
            raise LessonRefused(f"The name {self.name!r} may hold letters, digits, - and _ only, and at least one.")
        if not self.class_noun.strip():
            raise LessonRefused(f"What kind of thing is {self.name}? A class noun is needed, such as dog or mug.")
        if not self.pictures:
            raise LessonRefused(f"There is no picture of {self.name} to learn from.")
        if len(self.captions) not in (0, 1, len(self.pictures)):
            raise LessonRefused(
                f"{len(self.pictures)} pictures take one caption for all or one for each, not {len(self.captions)}."
            )

    @property
    def token(self) -> str:
        return f"<{self.name}>"


@dataclass(frozen=True)
class Classroom:
    """What lessons are taught with, the same for every lesson.

    judge: None where nothing shall be examined. likeness: who says how like its pictures a concept is; None: the judge.
    base_folder: where the base may bring calibration prompts and generic prompts of its own.
    made: pictures of earlier examinations, so that none is made twice.
    usual: the settings that remedies go back to; None for those that are taught with.
    guards_head: a version whose learning did damage (`cns.damage`) is published beside head, not as head.
    """

    base: BaseModel
    judge: Judge | None = None
    captioner: Captioner = field(default_factory=TemplateCaptioner)
    settings: LearningSettings = field(default_factory=LearningSettings)
    examination: ExaminationSettings = field(default_factory=ExaminationSettings)
    thresholds: Thresholds = field(default_factory=Thresholds)
    likeness: ImageEncoder | None = None
    base_folder: Path | None = None
    made: MadePictures = field(default_factory=dict)
    guards_head: bool = True
    usual: LearningSettings | None = None


def teach(
    folder: HistoryFolder, lesson: Lesson, room: Classroom, on_progress: OnProgress = no_progress
) -> VersionRecord:
    """Learn a concept on top of the history's head and publish it as a new version; the folder is held meanwhile.

    The new version becomes head, unless it did damage and the room guards head: `held_back` of the record says why.
    Learning that fails leaves the history as it was; an examination that fails is logged, and what was learned is
    published unmeasured.
    """
    seconds: dict[str, float] = {}
    with folder.writing():
        folder.check_base(room.base.id)
        before = compose(room.base, folder.load_deltas())
        with _timed(seconds, "captions", on_progress):
            captions = write_captions(lesson, room.captioner)
        concept = Concept(lesson.name, lesson.class_noun, lesson.pictures, captions)
        with _timed(seconds, "selection", on_progress):
            calibration = load_calibration_prompts(room.base_folder)
            run = LearningRun(room.base, before, concept, room.settings, calibration=calibration)
        with _timed(seconds, "learning"):
            while not run.done:
                run.step()
                on_progress("learning", run.steps_done, room.settings.steps)
            delta = run.finish()
        with _timed(seconds, "diagnosis"):
            examined = _examine_or_go_without(folder, lesson, room, before, delta, on_progress)
        damage = find_damage(examined.findings, findings_of_head(folder)) if examined and room.guards_head else ()
        return folder.publish(
            delta,
            lesson.pictures,
            losses=run.losses,
            seconds=seconds,
            diagnosis=[finding.to_json() for finding in examined.findings] if examined else (),
            examination=examined.to_json() if examined else None,
            held_back=[finding.to_json() for finding in damage],
        )


def write_captions(lesson: Lesson, captioner: Captioner) -> tuple[str, ...]:
    """One caption for each picture, all with the lesson's token in them."""
    written: Sequence[str] = lesson.captions or captioner.caption(lesson.pictures, lesson.class_noun)
    if len(written) == 1:
        written = [written[0]] * len(lesson.pictures)
    return tuple(with_token(caption, lesson.class_noun, lesson.token) for caption in written)


def examine_lesson(
    folder: HistoryFolder, lesson: Lesson, room: Classroom, before: Version, delta: Delta, on_progress: OnProgress
) -> Examination | None:
    """Examine what the lesson did to its own concept, to earlier ones and to everything else; None without a judge."""
    if room.judge is None:
        return None
    return examine(
        room.base,
        room.judge,
        before,
        extend(room.base, before, [delta]),
        # On the copies that the folder will keep: by others its likeness would not be that of later examinations.
        StudiedConcept(lesson.name, lesson.class_noun, tuple(small_copy(picture) for picture in lesson.pictures)),
        earlier_concepts(folder),
        generic_prompts=load_generic_prompts(room.base_folder),
        settings=room.examination,
        thresholds=room.thresholds,
        usual=room.usual or room.settings,
        likeness=room.likeness,
        made=room.made,
        on_step=partial(on_progress, "diagnosis"),
    )


def _examine_or_go_without(
    folder: HistoryFolder, lesson: Lesson, room: Classroom, before: Version, delta: Delta, on_progress: OnProgress
) -> Examination | None:
    """As `examine_lesson`; None where it fails, as a learning is not thrown away for that."""
    stopped: list[BaseException] = []  # what the caller raised, to stop: it is no failure

    def tell(stage: str, done: int, total: int) -> None:
        try:
            on_progress(stage, done, total)
        except BaseException as error:
            stopped.append(error)
            raise

    try:
        return examine_lesson(folder, lesson, room, before, delta, tell)
    except Exception as error:
        if error in stopped:
            raise
        log.warning("Nothing was measured: %r", error)
        return None


def findings_of_head(folder: HistoryFolder) -> list[Finding]:
    """What was found at the version that is learned upon; nothing at the bare base."""
    head = folder.history.head
    return [Finding.from_json(finding) for finding in folder.history.find(head).diagnosis] if head else []


def earlier_concepts(folder: HistoryFolder) -> list[StudiedConcept]:
    """The concepts of the history's head with their pictures and their scores right after they were learned."""
    studied = []
    for version in folder.history.lineage(folder.history.head):
        then = Examination.from_json(version.examination) if version.examination else None
        scores = then.concepts.get(version.concept) if then else None
        studied.append(StudiedConcept(version.concept, version.class_noun, folder.load_pictures(version), scores))
    return studied


@contextmanager
def _timed(seconds: dict[str, float], stage: str, on_progress: OnProgress = no_progress) -> Iterator[None]:
    """Note how long a stage took, and report it as one piece of work where it does not report its own."""
    on_progress(stage, 0, 1)
    started = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - started, 3)
    on_progress(stage, 1, 1)
