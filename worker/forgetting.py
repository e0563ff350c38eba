"""One forgetting: claim, make the line of versions without the concept, publish it, and erase when asked to.

It goes through two commits at most. Up to the first nothing has changed; with it the new line is there, head is on it,
and the rows that are to be erased are gone. What is left then, removing files and looking for them, can be done again
by whichever worker comes next.
"""

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.collect import remove_all_unused
from app.forgettings.erasing import Doomed, NotErased, erase_files, prove
from app.forgettings.models import Forgetting, Mode
from app.forgettings.service import forgetting_of
from app.histories.models import BaseModelRow, History, Version
from app.jobs.claims import check_held, end
from app.jobs.models import LEARNED_ON, Job, JobKind, JobState
from cns.errors import CnsError
from cns.examination_record import examination_without, findings_without
from cns.forgetting import ForgettingPlan, plan_forgetting
from cns.unlearning import Option
from cns.unlearning import forget as forget_at_once
from worker.attempt import attempt, check_base
from worker.checkpoints import forget_checkpoint
from worker.errors import ClaimGone
from worker.hands import Hold
from worker.lessons import Task, pictures_of
from worker.lineage import Ancestor, lineage
from worker.new_line import publish_line
from worker.progress import Progress
from worker.publishing import Learned
from worker.relearning import Relearning
from worker.transactions import transact

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What was asked for, and the line that it is about, oldest first. place: where in it the concept was learned."""

    forgetting: Forgetting
    owner_id: UUID
    line: tuple[Ancestor, ...]
    place: int
    checkpoint_sha256: str | None

    @property
    def later(self) -> tuple[Ancestor, ...]:
        return self.line[self.place + 1 :]

    @property
    def parent_id(self) -> UUID | None:
        return self.line[self.place - 1].version_id if self.place else None


def forget(worker: "Worker", job_id: UUID) -> bool:
    """Do the forgetting of that job, unless somebody else has it."""
    return attempt(worker, job_id, JobKind.FORGET, _work)


def _work(worker: "Worker", hold: Hold) -> None:
    forgetting = transact(worker.sessions, lambda session: _find(session, hold.job_id))
    if forgetting.published_at is None:
        asked = transact(worker.sessions, lambda session: _read(worker, session, forgetting))
        checkpoint = _make_line(worker, hold, asked)
        if checkpoint is not None:
            forget_checkpoint(worker, checkpoint)
    if forgetting.erase:
        _erase(worker, hold)


def _find(session: Session, job_id: UUID) -> Forgetting:
    if session.get(Job, job_id) is None:
        raise ClaimGone
    return forgetting_of(session, job_id)


def _read(worker: "Worker", session: Session, forgetting: Forgetting) -> Asked:
    """The line as head is now, or as it was when an attempt with a checkpoint began."""
    job, history = session.get_one(Job, forgetting.job_id), session.get_one(History, forgetting.history_id)
    check_base(worker, history, session.get(BaseModelRow, history.base_id))
    end_id = history.head_id
    if job.checkpoint_sha256 is not None and job.progress.get(LEARNED_ON):
        end_id = UUID(job.progress[LEARNED_ON])
    line = tuple(lineage(session, end_id))
    places = [place for place, one in enumerate(line) if one.concept_id == forgetting.concept_id]
    if not places:
        raise CnsError(f"The version in use does not know <{forgetting.name}> any more, so there is nothing to forget.")
    return Asked(forgetting, job.owner_id, line, places[0], job.checkpoint_sha256)


def _make_line(worker: "Worker", hold: Hold, asked: Asked) -> str | None:
    """Make the new line and publish it; returns the checkpoint that is of no more use."""
    deltas = worker.versions.deltas([one.delta_sha256 for one in asked.line])
    name, checkpoint = asked.forgetting.name, None
    if asked.forgetting.mode == Mode.FAST:
        progress = Progress(worker.sessions, worker.bell, hold)
        progress.begin("forgetting", 1)
        option = Option(asked.forgetting.shared)
        done = worker.engine.turn(partial(forget_at_once, worker.equipment.base, deltas, name, option)).result()
        measured = transact(worker.sessions, partial(_measured, asked))
        line = [
            Learned(delta, [], {}, diagnosis=diagnosis, examination=examination)
            for delta, (diagnosis, examination) in zip(done.after, measured, strict=True)
        ]
        progress.tell(1)
    else:
        plan = plan_forgetting(deltas, name, worker.equipment.base.own_tokens)
        again = Relearning(worker, hold, *_lessons(worker, asked, plan))
        again.progress.facts[LEARNED_ON] = str(asked.line[-1].version_id)
        line = again.learn_all(asked.checkpoint_sha256)
        checkpoint = again.checkpoint_sha256
    hold.check()
    publish_line(
        worker,
        hold,
        history_id=asked.forgetting.history_id,
        line_end=asked.line[-1].version_id,
        parent_id=asked.parent_id,
        concept_ids=[one.concept_id for one in asked.later],
        line=line,
    )
    return checkpoint


def _measured(asked: Asked, session: Session) -> list[tuple[list[Any], dict[str, Any]]]:
    """Diagnosis and examination of each later version, without what they say of the forgotten concept."""
    later, name = [one.version_id for one in asked.later], asked.forgetting.name
    rows = session.execute(select(Version.id, Version.diagnosis, Version.examination).where(Version.id.in_(later)))
    found = {version_id: parts for version_id, *parts in rows}
    return [
        (findings_without(diagnosis, name), examination_without(examination, name))
        for diagnosis, examination in (found[version_id] for version_id in later)
    ]


def _lessons(worker: "Worker", asked: Asked, plan: ForgettingPlan) -> tuple[ForgettingPlan, list[Task]]:
    """A task for each lesson of the plan: its pictures, and the line below the forgotten concept."""

    def read(session: Session) -> list[Task]:
        return [
            Task(
                job_id=asked.forgetting.job_id,
                owner_id=asked.owner_id,
                history_id=asked.forgetting.history_id,
                concept_id=one.concept_id,
                name=one.name,
                class_noun=one.class_noun,
                pictures=pictures_of(session, one.concept_id),
                line=asked.line[: asked.place],
                changes={},
                checkpoint_sha256=None,
            )
            for one in asked.later
        ]

    return plan, transact(worker.sessions, read)


# --- erasing -------------------------------------------------------------------------------------------------------


def _erase(worker: "Worker", hold: Hold) -> None:
    """Remove what was doomed, look that it is gone, and end the job with the proof.

    What was deleted, dropped or cancelled shortly before may show the concept too, and no row says any more of what it
    was. The collector would leave it for an hour; here it goes before anything is proved.
    """
    progress = Progress(worker.sessions, worker.bell, hold)
    progress.begin("erasing", 1)
    noted = transact(worker.sessions, lambda session: forgetting_of(session, hold.job_id))
    doomed, versions = [Doomed(**one) for one in noted.doomed], list(noted.proof["versions"])
    worker.engine.turn(lambda: _forget_in_memory(worker, doomed)).result()
    erase_files(worker.sessions, worker.store, doomed)
    remove_all_unused(worker.sessions, worker.store)
    try:  # before the job's row is locked, as all that is stored is looked through, and leases have to be renewed
        proof = transact(worker.sessions, lambda session: prove(session, worker.store, doomed, versions))
    except NotErased as error:
        raise CnsError(error.message) from error

    def write(session: Session) -> None:
        check_held(session, hold.claim)
        forgetting = forgetting_of(session, hold.job_id)
        forgetting.proof, forgetting.doomed = proof, []
        # Whoever asked to cancel meanwhile came too late: it has been done.
        session.execute(update(Job).where(Job.id == hold.job_id).values(cancel_requested=False))
        end(session, hold.claim, JobState.DONE)

    transact(worker.sessions, write)
    worker.bell.wake(hold.job_id)


def _forget_in_memory(worker: "Worker", doomed: list[Doomed]) -> None:
    """This worker's own memory. Others have what they used lately until they need the room for something else."""
    worker.versions.drop({one.sha256 for one in doomed})
    worker.made.clear()
