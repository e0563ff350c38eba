"""Learning the later concepts of a line again, in their order, on the thread of one job.

As a learning does, it takes its steps in turns on the engine and stores a checkpoint now and then. Its checkpoint is
the concepts that are done, with how they went, and the state of the one that goes on: whichever worker comes next
begins no concept anew.
"""

import json
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cns.delta import Delta
from cns.errors import CnsError
from cns.examination import Examination
from cns.forgetting import ForgettingPlan, LessonAgain
from cns.history_folder import as_json
from cns.learning import Concept, LearningRefused, LearningRun
from cns.teaching import Lesson
from worker.bundle import pack, unpack
from worker.checkpoints import load_checkpoint, store_checkpoint
from worker.errors import StepHangs, WorkerStops
from worker.examining import studied_as
from worker.hands import Hold
from worker.learning import Teaching
from worker.lessons import Task, read_lesson
from worker.publishing import Learned

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)


class Relearning(Teaching):
    """One attempt at the lessons of a plan. tasks: one for each, all on the line below the forgotten concept."""

    def __init__(self, worker: "Worker", hold: Hold, plan: ForgettingPlan, tasks: Sequence[Task]):
        super().__init__(worker, hold)
        self.plan, self.tasks = plan, tasks
        self.owner = tasks[0].owner_id if tasks else None
        self.done: list[Learned] = []

    def learn_all(self, checkpoint_sha256: str | None) -> list[Learned]:
        """Every lesson's outcome, in order; from the checkpoint on, where it fits."""
        self._checkpoint = checkpoint_sha256
        resume = self._restore(load_checkpoint(self.worker, checkpoint_sha256))
        for place, learned in enumerate(self.done):
            self._look_after(self._lesson(place), learned)
        for place in range(len(self.done), len(self.plan.lessons)):
            self._learn(place, resume)
            resume = None
        return self.done

    @property
    def checkpoint_sha256(self) -> str | None:
        """The newest checkpoint, to be forgotten when what was learned is published."""
        return self._checkpoint

    def _learn(self, place: int, resume: bytes | None) -> None:
        lesson_again, task = self.plan.lessons[place], self.tasks[place]
        self.peak_bytes, self._resumed_at = None, 0
        if not resume:
            self.seconds = {}
        self.progress.facts |= {"lesson": {"name": task.name, "place": place + 1, "of": len(self.tasks)}, "losses": []}
        self.progress.begin("checking", 1)
        lesson = self._lesson(place)
        concept = Concept(lesson.name, lesson.class_noun, lesson.pictures, lesson_again.captions)
        with self._stage("selection"):
            run = self._build(concept, lesson_again, resume)
        with self._stage("learning", run.settings.steps, run.steps_done):
            try:
                self._take_all_steps(run)
            except StepHangs:
                raise
            except WorkerStops:
                self._keep(run)
                raise
        learned = Learned(self._on_engine(run.finish), run.losses, self.seconds, self.peak_bytes)
        with self._stage("diagnosis"):
            self._examine(task, lesson, run.version, learned)
        self.done.append(learned)
        self._look_after(lesson, learned)
        self._store(b"", is_further=True)

    def _lesson(self, place: int) -> Lesson:
        return read_lesson(self.worker, self.tasks[place])

    def _build(self, concept: Concept, again: LessonAgain, resume: bytes | None) -> LearningRun:
        equipment, below = self.worker.equipment, self._below()

        def build(saved: bytes | None) -> LearningRun:
            version = self.worker.versions.composed.compose(below)
            return LearningRun(
                equipment.base, version, concept, again.settings, calibration=equipment.calibration, resume=saved
            )

        if resume:
            try:
                run = self._on_engine(partial(build, resume))
                log.info("Goes on with <%s> from step %d of %d.", concept.name, run.steps_done, again.settings.steps)
                self._resumed_at = run.steps_done
                return run
            except LearningRefused as error:
                log.warning("The checkpoint is left aside: %s", error)
        return self._on_engine(partial(build, None))

    def _below(self) -> list[Delta]:
        return [*self.plan.before, *(learned.delta for learned in self.done)]

    def _look_after(self, lesson: Lesson, learned: Learned) -> None:
        """The examinations of the lessons after it see what becomes of this one."""
        scores = Examination.from_json(learned.examination).concepts.get(lesson.name) if learned.examination else None
        self._also.append(studied_as(lesson.name, lesson.class_noun, lesson.pictures, scores))

    def _sample(self, run: LearningRun, step: int) -> None:
        """None is made: what it becomes was seen when it was learned for the first time."""

    # --- stopping and going on -----------------------------------------------------------------------------------

    def _keep(self, run: LearningRun) -> None:
        data = self._on_engine(run.checkpoint)
        self._note_seconds()
        self.progress.flush(run.steps_done)
        self._store(data, is_further=run.steps_done > self._resumed_at)

    def _store(self, run: bytes, *, is_further: bool) -> None:
        """A checkpoint of all that is done. run: that of the learning that goes on, b"" between two of them."""
        facts = {"done": [_how_it_went(one) for one in self.done], "seconds": self.seconds if run else {}}
        parts = [json.dumps(as_json(facts)).encode(), run]
        data = pack([*parts, *(learned.delta.to_bytes() for learned in self.done)])
        self._checkpoint = store_checkpoint(self.worker, self.hold, data, self._checkpoint, is_further=is_further)

    def _restore(self, data: bytes | None) -> bytes | None:
        """Take over what a checkpoint has done; returns the state of the learning that goes on, where there is one."""
        if data is None:
            return None
        try:
            head, run, *deltas = unpack(data)
            facts = json.loads(head)
            read = [Delta.from_bytes(one, base_id=self.worker.equipment.base.id) for one in deltas]
            done = [Learned(delta, **one) for delta, one in zip(read, facts["done"], strict=True)]
            self._check_fits(read)
        except (CnsError, ValueError, TypeError, KeyError) as error:
            log.warning("The checkpoint is left aside: %s", error)
            return None
        self.done, self.seconds = done, dict(facts["seconds"])
        return run or None

    def _check_fits(self, deltas: Sequence[Delta]) -> None:
        """Raise LearningRefused for those of another line."""
        parent = self.plan.before[-1].digest if self.plan.before else None
        names = [lesson.name for lesson in self.plan.lessons[: len(deltas)]]
        if [delta.concept for delta in deltas] != names or any(delta.parent != parent for delta in deltas[:1]):
            raise LearningRefused("This checkpoint belongs to another line of versions.")


def _how_it_went(learned: Learned) -> dict[str, object]:
    """For JSON: everything but the delta, which is bytes of its own."""
    return {
        "losses": learned.losses,
        "seconds": learned.seconds,
        "peak_bytes": learned.peak_bytes,
        "diagnosis": learned.diagnosis,
        "examination": learned.examination,
    }
