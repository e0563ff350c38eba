"""The opposite of a lesson: a history in a folder goes on without a concept, and the concept may be erased."""

import time
from collections.abc import Sequence
from functools import partial

from cns.base_model import BaseModel
from cns.compose import Version, compose, extend
from cns.erasing import Erasure, erase_files
from cns.examination_record import examination_without, findings_without
from cns.forgetting import LessonAgain, plan_forgetting
from cns.history import VersionRecord
from cns.history_folder import HistoryFolder, NewVersion, now
from cns.learning import Concept, LearningRun
from cns.phrases import load_calibration_prompts
from cns.pictures import REFERENCE_PX
from cns.teaching import Classroom, OnProgress, no_progress
from cns.unlearning import DEFAULT_OPTION, NothingToForget, Option, forget


def forget_fast(
    folder: HistoryFolder, base: BaseModel, name: str, option: Option = DEFAULT_OPTION
) -> tuple[VersionRecord, ...]:
    """Make a line of versions without the concept from what is stored, and move head to its end; the old line stays.

    What was measured when the later concepts were learned goes with them, but for what it says of the forgotten one.
    Returns the new versions, oldest first; none when nothing was learned after the concept. Raises NothingToForget when
    head's line does not know it.
    """
    with folder.writing():
        folder.check_base(base.id)
        line = folder.history.lineage(folder.history.head)
        done = forget(base, folder.load_deltas(), name, option)
        later = line[len(done.before) + 1 :]
        new = [
            NewVersion(
                delta,
                folder.load_pictures(old),
                diagnosis=findings_without(old.diagnosis, name),
                examination=examination_without(old.examination, name),
            )
            for delta, old in zip(done.after, later, strict=True)
        ]
        return folder.publish_line(line[len(done.before)].parent, new, f"forgot {name}")


def forget_exactly(
    folder: HistoryFolder, room: Classroom, name: str, on_progress: OnProgress = no_progress
) -> tuple[VersionRecord, ...]:
    """Learn the later concepts again as if the concept had never been there, and move head there; the old line stays.

    They are learned with the captions and settings of the first time and from the pictures that the folder keeps, whose
    shorter side is at most `REFERENCE_PX`: see `from_smaller_pictures`. Interrupted, it leaves the history as it was.
    room: base and calibration prompts are used of it. on_progress("learning rex", steps done, of all).
    Raises NothingToForget when head's line does not know the concept.
    """
    with folder.writing():
        folder.check_base(room.base.id)
        line = folder.history.lineage(folder.history.head)
        plan = plan_forgetting(folder.load_deltas(), name, room.base.own_tokens)
        later = line[len(plan.before) + 1 :]
        calibration = load_calibration_prompts(room.base_folder)
        below = compose(room.base, plan.before)
        new: list[NewVersion] = []
        for lesson, old in zip(plan.lessons, later, strict=True):
            new.append(_learn_again(folder, room.base, calibration, below, lesson, old, on_progress))
            below = extend(room.base, below, [new[-1].delta])
        return folder.publish_line(line[len(plan.before)].parent, new, f"forgot {name}")


def from_smaller_pictures(folder: HistoryFolder, base: BaseModel, name: str) -> dict[str, int]:
    """The later concepts that `forget_exactly` would learn again from copies smaller than what they were taught with.

    Their deltas are then others than in a history that never knew the concept. Name -> side in pixels of the pictures
    that it learns from: beyond `REFERENCE_PX` these are copies made large again. A picture whose shorter side was just
    `REFERENCE_PX` looks like a copy. Raises NothingToForget as `forget_exactly` does.
    """
    plan = plan_forgetting(folder.load_deltas(), name, base.own_tokens)
    later = folder.history.lineage(folder.history.head)[len(plan.before) + 1 :]
    return {
        lesson.name: lesson.settings.resolution_px or base.native_px
        for lesson, old in zip(plan.lessons, later, strict=True)
        if any(min(copy.size) >= REFERENCE_PX for copy in folder.load_pictures(old))
    }


def _learn_again(
    folder: HistoryFolder,
    base: BaseModel,
    calibration: Sequence[str],
    below: Version,
    lesson: LessonAgain,
    old: VersionRecord,
    on_progress: OnProgress,
) -> NewVersion:
    pictures = folder.load_pictures(old)
    concept = Concept(lesson.name, lesson.class_noun, pictures, lesson.captions)
    started = time.monotonic()
    run = LearningRun(base, below, concept, lesson.settings, calibration=calibration)
    tell = partial(on_progress, f"learning {lesson.name}")
    while not run.done:
        run.step()
        tell(run.steps_done, lesson.settings.steps)
    return NewVersion(run.finish(), pictures, run.losses, {"learning": round(time.monotonic() - started, 3)})


def erase(folder: HistoryFolder, name: str) -> Erasure:
    """Erase every version that knows the concept, in every branch, with its delta and pictures; it cannot be undone.

    What killed commands left behind goes too, and an erasure that was broken off is finished. Raises NothingToForget
    when there is nothing of the concept, HistoryError while head still knows it, ErasureFailed when a file could not be
    got rid of.
    """
    with folder.writing():
        doomed = folder.history.knowing(name)
        if not doomed and name not in folder.left_behind():
            raise NothingToForget(
                f"No version of this history knows <{name}>, so there is nothing to erase.{_what_is_left(folder)}"
            )
        folder.drop_versions({version.number for version in doomed})
        return erase_files(folder.folder, folder.unnamed_files(), folder.named_files(), now())


def erase_unnamed(folder: HistoryFolder) -> Erasure:
    """Erase what belongs to no version, as killed commands and erasures leave it."""
    with folder.writing():
        return erase_files(folder.folder, folder.unnamed_files(), folder.named_files(), now())


def _what_is_left(folder: HistoryFolder) -> str:
    if count := len(folder.unnamed_files()):
        return f" Files that belong to no version: {count}; `tidy` removes them."
    return ""
