"""Asking that a history goes on without a concept: a job, as the worker has the model and the values."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.concepts.service import check_open_jobs
from app.config import Settings
from app.db import UnitOfWork
from app.errors import Conflict, Invalid, NotFound
from app.forgettings.models import Forgetting, Mode, Shared
from app.histories.models import History
from app.histories.service import get_history
from app.histories.versions import Step, line_to, steps_of
from app.idempotency import Once, commit_once
from app.jobs.models import LANE, OPEN, Job, JobKind
from app.jobs.queueing import queue_job
from app.texts import one_line

LONGEST_NAME = 60


def start_forgetting(
    uow: UnitOfWork,
    limits: Settings,
    owner_id: UUID,
    history_id: UUID,
    *,
    concept: str,
    mode: Mode,
    shared: Shared = Shared.KEPT,
    erase: bool = False,
    once: Once | None = None,
) -> Forgetting:
    """Queue a job that makes a line of versions without a concept that the history's head knows.

    Invalid for a concept that head does not know, Conflict while something is being learned or forgotten: the line that
    is to be made anew would not be the one that was looked at.
    """
    name = one_line(concept.strip().removeprefix("<").removesuffix(">"), "concept", LONGEST_NAME, "A concept's name")
    with uow:
        session = uow.session
        history = get_history(session, owner_id, history_id, lock=True)
        if once and (done := once.find(session)):
            return forgetting_of(session, done)
        check_open_jobs(session, owner_id, limits)
        step = _step_that_learned(session, history, name)
        _check_lane_is_free(session, history)
        job = queue_job(
            uow,
            Job(
                owner_id=owner_id,
                history_id=history.id,
                kind=JobKind.FORGET.value,
                max_attempts=limits.max_attempts,
            ),
        )
        session.add(
            Forgetting(
                history_id=history.id,
                job_id=job.id,
                concept_id=step.concept.id,
                name=step.concept.name,
                class_noun=step.concept.class_noun,
                mode=mode.value,
                shared=shared.value,
                erase=erase,
            )
        )
        return forgetting_of(session, commit_once(uow, once, job.id))


def _step_that_learned(session: Session, history: History, name: str) -> Step:
    """The version of head's line that learned the concept."""
    steps = steps_of(session, history.id)
    line = line_to(steps, history.head_id)
    for step in line:
        if step.concept.name == name:
            return step
    elsewhere = [str(step.version.number) for step in steps if step.concept.name == name]
    if elsewhere:
        raise Invalid(
            f"The version in use does not know <{name}>. Version {' and '.join(elsewhere)} of another branch does: "
            "go to one that knows it first.",
            field="concept",
        )
    known = ", ".join(f"<{step.concept.name}>" for step in line) or "no concept yet"
    raise Invalid(f"The version in use does not know <{name}>. It knows {known}.", field="concept")


def _check_lane_is_free(session: Session, history: History) -> None:
    asked = select(Job.kind).where(
        Job.history_id == history.id,
        Job.kind.in_([kind.value for kind in LANE]),
        Job.state.in_([state.value for state in OPEN]),
    )
    kind = session.scalar(asked.order_by(Job.sequence).limit(1))
    if kind is not None:
        going_on = "learned" if kind == JobKind.LEARN else "forgotten"
        raise Conflict(f"Something is being {going_on} in this history. Wait until that has ended, or cancel it.")


# --- reading -------------------------------------------------------------------------------------------------------


def forgetting_of(session: Session, job_id: UUID) -> Forgetting:
    return session.scalars(select(Forgetting).where(Forgetting.job_id == job_id)).one()


def get_forgetting(session: Session, owner_id: UUID, forgetting_id: UUID) -> Forgetting:
    """NotFound when it is not there or somebody else's."""
    found = session.get(Forgetting, forgetting_id)
    if found is None or session.get_one(History, found.history_id).owner_id != owner_id:
        raise NotFound("There is no such forgetting.")
    return found


_OF_HISTORY = (
    select(Forgetting, Job)
    .join(Job, Job.id == Forgetting.job_id)
    .where(Forgetting.history_id == bindparam("history_id"))
    .order_by(Job.sequence.desc())
)


def list_forgettings(session: Session, history_id: UUID) -> Sequence[tuple[Forgetting, Job]]:
    """Of one history, each with its job, the latest first."""
    return list(session.execute(_OF_HISTORY, {"history_id": history_id}).all())
