"""One learning: claim, teach in turns on the engine, publish a version.

Between the turns everything else goes on. What is learned depends on nothing but the rows it was asked with: not on
who else uses the device, nor on how often it was interrupted. Where steps are taken together with other learnings'
(worker/together.py) that holds but for the last bits.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from app.jobs.models import LEARNED_ON, JobKind
from cns.compose import Version
from cns.examination import StudiedConcept
from cns.learning import Concept, LearningRefused, LearningRun
from cns.teaching import Lesson, write_captions
from worker.attempt import attempt
from worker.checkpoints import forget_checkpoint, load_checkpoint, store_checkpoint
from worker.equipment import merge_settings
from worker.errors import StepHangs, TookTooLong, WorkerStops
from worker.examining import examination_work
from worker.hands import Hold
from worker.lessons import Task, read_lesson, read_task, tell_captions
from worker.progress import Progress, thinned
from worker.publishing import Learned, publish
from worker.samples import Sampler, keep_sample, marks
from worker.transactions import transact
from worker.turns import LearningSteps

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)
T = TypeVar("T")
LIMIT_S = 24 * 3600.0  # a learning that takes longer than this is given up
LOOK_S = 0.2
STOPPING_S = 10.0  # how long a worker that stops waits for a step to end; then the last checkpoint must do


def learn(worker: "Worker", job_id: UUID) -> bool:
    """Do the learning of that job, unless somebody else has it."""
    return attempt(worker, job_id, JobKind.LEARN, lambda worker, hold: Teaching(worker, hold).run())


class Teaching:
    """One attempt at one learning, on the thread of its job.

    owner: whom the device's time counts for, once known. peak_bytes: the most of a GPU's memory that was in use during
    its steps, the base included; None on a CPU, where nobody tells it of one step.
    """

    def __init__(self, worker: "Worker", hold: Hold):
        self.worker, self.hold = worker, hold
        self.owner: UUID | None = None
        self.peak_bytes: int | None = None
        self.progress = Progress(worker.sessions, worker.bell, hold)
        self.seconds: dict[str, float] = {}
        self._deadline = time.monotonic() + LIMIT_S
        self._checkpoint: str | None = None
        self._resumed_at = 0  # the step that this attempt began at
        self._also: list[StudiedConcept] = []  # to be looked after, though no version was published of them yet
        self._clock = ("", 0.0)  # the stage that goes on, and when it would have begun without a break

    def run(self) -> None:
        task = transact(self.worker.sessions, lambda session: read_task(self.worker, session, self.hold.job_id))
        self.owner, self._checkpoint = task.owner_id, task.checkpoint_sha256
        self.seconds |= task.earlier.get("seconds", {})
        self.progress.facts |= {LEARNED_ON: str(task.parent_id) if task.parent_id else None, "losses": []}
        self.progress.begin("checking", 1)
        lesson = read_lesson(self.worker, task)
        with self._stage("captions"):
            concept = self._on_engine(partial(self._concept, lesson, task))
            tell_captions(self.worker, self.hold, concept.captions)
        with self._stage("selection"):
            run = self._prepare(task, concept)
        with self._stage("learning", run.settings.steps, run.steps_done):
            try:
                self._take_all_steps(run)
            except StepHangs:
                raise  # a checkpoint would wait for the same step, and then there is no time to hand the job back
            except WorkerStops:
                self._keep(run)
                raise
        delta = self._on_engine(run.finish)
        learned = Learned(delta, run.losses, self.seconds, self.peak_bytes)
        with self._stage("diagnosis"):
            self._examine(task, lesson, run.version, learned)
        self.progress.begin("publishing", 1)
        publish(self.worker, self.hold, task, learned)
        if self._checkpoint is not None:
            forget_checkpoint(self.worker, self._checkpoint)

    # --- the stages ----------------------------------------------------------------------------------------------

    def _concept(self, lesson: Lesson, task: Task) -> Concept:
        """The lesson with a caption for every picture: those people wrote, and the captioner's for the others."""
        given = [(caption or "").strip() for _, caption in task.pictures]
        missing = [place for place, caption in enumerate(given) if not caption]
        if missing:
            pictures = [lesson.pictures[place] for place in missing]
            written = self.worker.equipment.captioner.caption(pictures, lesson.class_noun)
            for place, caption in zip(missing, written, strict=True):
                given[place] = caption
        whole = Lesson(lesson.name, lesson.class_noun, lesson.pictures, tuple(given))
        captions = write_captions(whole, self.worker.equipment.captioner)
        return Concept(whole.name, whole.class_noun, whole.pictures, captions)

    def _prepare(self, task: Task, concept: Concept) -> LearningRun:
        """The run, as far as the checkpoint had come. One that does not fit any more is left aside."""
        equipment = self.worker.equipment
        settings = merge_settings(equipment.usual, task.changes)
        deltas = self.worker.versions.deltas(task.digests)
        saved = load_checkpoint(self.worker, task.checkpoint_sha256)

        def build(resume: bytes | None) -> LearningRun:
            version = self.worker.versions.composed.compose(deltas)
            calibration = equipment.calibration
            return LearningRun(equipment.base, version, concept, settings, calibration=calibration, resume=resume)

        if saved is not None:
            try:
                run = self._on_engine(partial(build, saved))
                log.info("Goes on from step %d of %d.", run.steps_done, settings.steps)
                self._resumed_at = run.steps_done
                return run
            except LearningRefused as error:
                log.warning("The checkpoint is left aside: %s", error)
        return self._on_engine(partial(build, None))

    def _take_all_steps(self, run: LearningRun) -> None:
        """Step from sample to sample, with a checkpoint now and then, and one at the end, before the examination."""
        due = time.monotonic() + self.worker.settings.checkpoint_s
        for mark in marks(run.settings.steps):
            if mark < run.steps_done:
                continue
            while run.steps_done < mark:
                self._take_steps(run, mark, due)
                if time.monotonic() >= due:
                    self._keep(run)
                    due = time.monotonic() + self.worker.settings.checkpoint_s
            self._sample(run, mark)
        self._keep(run)

    def _take_steps(self, run: LearningRun, mark: int, due: float) -> None:
        """Until `mark` steps are done, or a checkpoint is due."""

        def step() -> float:
            self.hold.check()
            return accept(self.worker.note_learning(run.step, run.settings.batch))

        def accept(loss: float) -> float:
            if not isfinite(loss):  # no later step brings it back
                raise LearningRefused(
                    f"The learning diverged at step {run.steps_done}: its loss is not finite. Try lower learning rates."
                )
            self.peak_bytes = max(self.peak_bytes or 0, self.worker.learning_peak_bytes or 0) or None
            return loss

        def more() -> bool:
            return run.steps_done < mark and time.monotonic() < due

        check = self.hold.check
        steps = LearningSteps(step=step, more=more, owner=self.owner, run=run, check=check, accept=accept)
        self._wait(self.worker.engine.add(steps), lambda: self._tell(run))

    def _tell(self, run: LearningRun) -> None:
        self.progress.facts["losses"] = thinned(run.losses)
        self.progress.tell(run.steps_done, run.losses[-1] if run.losses else None)

    def _sample(self, run: LearningRun, step: int) -> None:
        sampler = Sampler(run)

        def one_step() -> None:
            self.hold.check()
            sampler.step()

        self._wait(self.worker.engine.turns(one_step, sampler.more, self.owner), lambda: self._tell(run))
        if sampler.png is None:
            return
        try:
            keep_sample(self.worker, self.hold, step, sampler.png)
        except OSError as error:  # nothing that is learned rests on it
            log.warning("The sample of step %d could not be stored: %s", step, error)

    def _keep(self, run: LearningRun) -> None:
        """Store a checkpoint, and with it how far it had come. Without a storage the one before it stays."""
        data = self._on_engine(run.checkpoint)
        self._note_seconds()
        self.progress.facts["losses"] = thinned(run.losses)
        self.progress.flush(run.steps_done)
        is_further = run.steps_done > self._resumed_at
        self._checkpoint = store_checkpoint(self.worker, self.hold, data, self._checkpoint, is_further=is_further)

    def _examine(self, task: Task, lesson: Lesson, before: Version, learned: Learned) -> None:
        seen: list[tuple[int, int]] = []

        def on_step(done: int, total: int) -> None:
            seen[:] = [(done, total)]

        def tell() -> None:
            if seen:
                (done, total) = seen[0]
                if self.progress.total != total:
                    self.progress.begin("diagnosis", total, done)
                self.progress.tell(done)

        work = examination_work(self.worker, self.hold, task, lesson, before, learned.delta, on_step, self._also)
        examined = None if work is None else self._on_engine(work, tell)
        if examined is not None:
            learned.examination = examined.to_json()
            learned.diagnosis = [finding.to_json() for finding in examined.findings]

    # --- waiting for the engine ----------------------------------------------------------------------------------

    def _on_engine(self, work: Callable[[], T], tell: Callable[[], None] = lambda: None) -> T:
        return self._wait(self.worker.engine.turn(work, self.owner), tell)

    def _wait(self, future: "Future[T]", tell: Callable[[], None]) -> T:
        """The answer of the engine; meanwhile `tell` is called a few times a second."""
        give_up = float("inf")
        while not wait([future], timeout=LOOK_S).done:
            now = time.monotonic()
            if now > self._deadline:
                self.hold.cancel()
                raise TookTooLong(f"This learning took longer than {LIMIT_S / 3600:.0f} hours and was given up.")
            if self.hold.stopping:
                give_up = min(give_up, now + STOPPING_S)
                if now > give_up:
                    raise StepHangs
            tell()
        tell()
        return future.result()

    @contextmanager
    def _stage(self, name: str, total: int = 1, step: int = 0) -> Iterator[None]:
        """Tell of a stage and note how long it took."""
        self.hold.check()
        self.progress.begin(name, total, step)
        # A learning that is resumed goes on; the other stages are done anew by every attempt.
        before = self.seconds.get(name, 0.0) if name == "learning" else 0.0
        self._clock = (name, time.monotonic() - before)
        yield
        self._note_seconds()

    def _note_seconds(self) -> None:
        name, begun = self._clock
        self.seconds[name] = round(time.monotonic() - begun, 3)
        self.progress.facts["seconds"] = dict(self.seconds)
