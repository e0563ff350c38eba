"""What jobs that wait are told of the time they will take, from what workers measured of their steps."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.generations.models import Generation
from app.histories.models import BaseModelRow, History, Version
from app.jobs.models import LANE, OPEN, Job, JobKind, JobState
from app.jobs.waiting import Work, seconds_until_done
from app.jobs.workers import list_workers

LATELY = 5  # learnings, of which the time beside their steps is taken
HALF = 0.5  # learning's share where no worker has said which it is
PAST_STEPS = ("diagnosis", "publishing")


def estimates_of(session: Session, jobs: Sequence[Job]) -> dict[UUID, float]:
    """Job -> seconds until it is done, of those that wait; without those of a kind that nothing was measured of yet."""
    waiting = [job.id for job in jobs if job.state == JobState.QUEUED]
    asked = select(Job.id, History.base_id).join(History, Job.history_id == History.id).where(Job.id.in_(waiting))
    on_base: dict[str, list[UUID]] = {}
    for job_id, base_id in session.execute(asked) if waiting else ():
        on_base.setdefault(base_id, []).append(job_id)
    found: dict[UUID, float] = {}
    for base_id, job_ids in on_base.items():
        facts = session.get_one(BaseModelRow, base_id).facts
        share = float(facts.get("learning_share", HALF))
        devices = sum(worker.base_id == base_id for worker in list_workers(session))
        work = {one.job_id: one for one in open_work(session, base_id, facts)}
        for job_id in job_ids:
            if job_id in work:
                found[job_id] = round(seconds_until_done(work[job_id], list(work.values()), share, devices), 1)
    return found


def note_estimate(session: Session, job: Job) -> None:
    """Write down what is said of a new job, to be held against what it comes to. To be committed by the caller."""
    session.flush()
    job.estimated_s = estimates_of(session, [job]).get(job.id)


def open_work(session: Session, base_id: str, facts: Mapping[str, Any]) -> list[Work]:
    """All that waits or runs on a base, as far as its time can be told from the base's `facts`."""
    asked = (
        select(Job, Generation)
        .join(History, Job.history_id == History.id)
        .outerjoin(Generation, Generation.job_id == Job.id)
        .where(History.base_id == base_id, Job.state.in_([state.value for state in OPEN]))
    )
    rows = [(job, generation) for job, generation in session.execute(asked)]
    learns = any(job.kind == JobKind.LEARN for job, _ in rows)
    beside = _seconds_beside_steps(session, base_id) if learns else 0.0
    work = []
    for job, generation in rows:
        seconds = _generating_s(job, generation, facts) if generation else _learning_s(job, facts, beside)
        if seconds is not None:
            order = (_moment(job.deadline_at), job.sequence)
            work.append(Work(job.id, job.owner_id, job.kind in LANE, order, seconds))
    return work


def _moment(deadline: datetime | None) -> float:
    return inf if deadline is None else deadline.timestamp()


def _generating_s(job: Job, asked: Generation, facts: Mapping[str, Any]) -> float | None:
    """seconds_per_step is of a guided picture of the base's own size; one without guidance is half of that."""
    step_s, native = facts.get("seconds_per_step", {}).get("generating"), facts.get("native_px")
    if step_s is None or native is None:
        return None
    steps = max(0, asked.steps * asked.count - job.step)
    size = asked.width_px * asked.height_px / native**2
    return float(steps * step_s * size * (1.0 if asked.guidance > 1 else 0.5))


def _learning_s(job: Job, facts: Mapping[str, Any], beside: float) -> float | None:
    """beside: seconds of a whole learning that are not for its steps. Nothing is known of forgettings."""
    usual, step_s = facts.get("learning", {}), facts.get("seconds_per_step", {}).get("learning")
    if job.kind != JobKind.LEARN or step_s is None or not usual.get("steps"):
        return None
    steps = job.settings.get("steps", usual["steps"])
    if job.stage == "learning":
        steps = max(0, job.steps_total - job.step)
    elif job.stage in PAST_STEPS:
        steps = 0
    rows = job.settings.get("batch", usual.get("batch", 1)) / usual.get("batch", 1)
    return float(steps * step_s * rows + beside)


def _seconds_beside_steps(session: Session, base_id: str) -> float:
    """What captions, selection and examination of the latest learnings on that base took, in the mean; else 0."""
    lately = (
        select(Version.seconds)
        .join(History, Version.history_id == History.id)
        .where(History.base_id == base_id)
        .order_by(Version.created_at.desc())
        .limit(LATELY)
    )
    beside = [
        sum(float(seconds) for stage, seconds in taken.items() if stage != "learning")
        for taken in session.scalars(lately)
    ]
    return sum(beside) / len(beside) if beside else 0.0


def count_errors(session: Session, bounds: Sequence[float]) -> dict[str, tuple[list[int], float, int]]:
    """Kind -> of the jobs done within the last day: how many were told wrong by at most each of `bounds`, the sum, and
    how many there were. Wrong by: |told - real| / real, where real is from asking until it was done.
    """
    real = func.extract("epoch", Job.finished_at - Job.created_at)
    wrong = func.abs(Job.estimated_s - real) / func.greatest(real, 0.001)
    counts = [func.count().filter(wrong <= bound) for bound in bounds]
    asked = (
        select(Job.kind, func.sum(wrong), func.count(), *counts)
        .where(
            Job.state == JobState.DONE.value,
            Job.estimated_s.is_not(None),
            Job.finished_at > func.now() - func.make_interval(0, 0, 0, 1),
        )
        .group_by(Job.kind)
    )
    return {kind: (list(within), float(total), count) for kind, total, count, *within in session.execute(asked)}
