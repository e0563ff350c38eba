"""What jobs that wait are told of the time they will take, from what workers measured of their steps."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Float, case, cast, func, null, select
from sqlalchemy.orm import Session

from app.generations.models import Generation
from app.histories.models import BaseModelRow, History, Version
from app.jobs.models import LANE, OPEN, Job, JobKind, JobState
from app.jobs.waiting import seconds_until_done
from app.jobs.workers import list_workers

LATELY = 5  # learnings, of which the time beside their steps is taken
HALF = 0.5  # learning's share where no worker has said which it is
ROWS_OF_PICTURE = case((Generation.guidance > 1, 2), else_=1)
PAST_STEPS = ("diagnosis", "publishing")


def estimates_of(session: Session, jobs: Sequence[Job]) -> dict[UUID, float]:
    """Job -> seconds until it is done, of those that wait; without those of a kind that nothing was measured of yet."""
    waiting = [job.id for job in jobs if job.state == JobState.QUEUED]
    asked = select(Job.id, History.base_id).join(History, Job.history_id == History.id).where(Job.id.in_(waiting))
    on_base: dict[str, set[UUID]] = {}
    for job_id, base_id in session.execute(asked) if waiting else ():
        on_base.setdefault(base_id, set()).add(job_id)
    found: dict[UUID, float] = {}
    for base_id, job_ids in on_base.items():
        found |= _estimates_on(session, base_id, job_ids)
    return found


def note_estimate(session: Session, job: Job) -> None:
    """Write down what is said of a new job, to be held against what it comes to. To be committed by the caller."""
    session.flush()
    job.estimated_s = estimates_of(session, [job]).get(job.id)


def _estimates_on(session: Session, base_id: str, job_ids: Collection[UUID]) -> dict[UUID, float]:
    """Of jobs on one base. Of other owners no more is read than a sum for each, however much waits."""
    facts = session.get_one(BaseModelRow, base_id).facts
    share = float(facts.get("learning_share", HALF))
    devices = sum(worker.base_id == base_id for worker in list_workers(session))
    open_work = (
        select()
        .select_from(Job)
        .join(History, Job.history_id == History.id)
        .outerjoin(Generation, Generation.job_id == Job.id)
        .where(History.base_id == base_id, Job.state.in_([state.value for state in OPEN]))
    )
    rows = session.scalar(open_work.add_columns(func.sum(Generation.count * ROWS_OF_PICTURE)))
    step_s = _picture_step_s(facts, int(rows or 0))
    learns, seconds = Job.kind.in_([kind.value for kind in LANE]), _seconds_left(session, base_id, facts, step_s)
    sums = open_work.add_columns(Job.owner_id, learns, func.sum(seconds)).group_by(Job.owner_id, learns)
    wanted = {(owner, lane): float(total or 0) for owner, lane, total in session.execute(sums)}
    owners = select(Job.owner_id).where(Job.id.in_(job_ids))
    own_jobs = open_work.add_columns(Job.id, Job.owner_id, learns, seconds).where(Job.owner_id.in_(owners))
    own: dict[tuple[UUID, bool], float] = {}  # of each owner's work so far, in their own order
    found: dict[UUID, float] = {}
    for job_id, owner, lane, left in session.execute(own_jobs.order_by(Job.deadline_at.nulls_last(), Job.sequence)):
        own[owner, lane] = own.get((owner, lane), 0.0) + float(left or 0)
        if job_id in job_ids and left is not None:
            others = [total for (other, its), total in wanted.items() if its == lane and other != owner]
            beside = sum(total for (_, its), total in wanted.items() if its != lane)
            until = seconds_until_done(own[owner, lane], others, beside, share if lane else 1 - share, devices)
            found[job_id] = round(until, 1)
    return found


def _picture_step_s(facts: Mapping[str, Any], rows: int) -> float | None:
    """Seconds of a step for each guided picture when `rows` rows wait: the more go together, the less each takes."""
    measured = {int(known): float(seconds) for known, seconds in facts.get("row_seconds", {}).items()}
    if not measured:
        step_s: float | None = facts.get("seconds_per_step", {}).get("generating")
        return step_s
    nearest = min((known for known in measured if known >= rows), default=max(measured))
    return 2 * measured[nearest]


def _seconds_left(
    session: Session, base_id: str, facts: Mapping[str, Any], picture_step_s: float | None
) -> ColumnElement[Any]:
    """What an open job still takes of the device when it has it to itself; NULL where nothing was measured."""
    learning_s = facts.get("seconds_per_step", {}).get("learning")
    known = case(
        (Job.kind == JobKind.GENERATE.value, _generating_s(picture_step_s, facts.get("native_px"))),
        (Job.kind == JobKind.LEARN.value, _learning_s(learning_s, facts, session, base_id)),
        else_=null(),  # nothing is known of forgettings
    )
    return cast(known, Float)


def _generating_s(step_s: float | None, native_px: int | None) -> ColumnElement[Any]:
    """step_s: of a guided picture of the base's own size; one without guidance is half of that."""
    if step_s is None or native_px is None:
        return null()
    steps = func.greatest(0, Generation.steps * Generation.count - Job.step)
    size = cast(Generation.width_px * Generation.height_px, Float) / native_px**2
    return steps * step_s * size * ROWS_OF_PICTURE / 2


def _learning_s(step_s: float | None, facts: Mapping[str, Any], session: Session, base_id: str) -> ColumnElement[Any]:
    """step_s: of a step with the usual batch."""
    usual = facts.get("learning", {})
    if step_s is None or "steps" not in usual:
        return null()
    steps = case(
        (Job.stage == "learning", func.greatest(0, Job.steps_total - Job.step)),
        (Job.stage.in_(PAST_STEPS), 0),
        else_=func.coalesce(Job.settings["steps"].as_float(), usual["steps"]),
    )
    batch = usual.get("batch", 1)
    rows = func.coalesce(Job.settings["batch"].as_float(), batch) / batch
    return steps * step_s * rows + _seconds_beside_steps(session, base_id)


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
