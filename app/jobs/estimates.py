"""What jobs that wait are told of the time they will take, from what workers measured of their steps."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Float, bindparam, case, cast, func, select
from sqlalchemy.orm import Session

from app.generations.models import Generation
from app.histories.models import BaseModelRow, History, Version
from app.jobs.models import LANE, OPEN, Job, JobKind, JobState, WorkerRow
from app.jobs.waiting import seconds_until_done
from app.jobs.workers import is_alive

LATELY = 5  # learnings, of which the time beside their steps is taken
HALF = 0.5  # learning's share where no worker has said which it is
ROWS_OF_PICTURE = case((Generation.guidance > 1, 2), else_=1)
PAST_STEPS = ("diagnosis", "publishing")


# The statements are put together once, as that costs more than to ask them. What was measured is handed in, and where
# it is not known it is NULL, and so is what is made of it.
_STEP_S, _NATIVE_PX = bindparam("step_s", type_=Float), bindparam("native_px", type_=Float)
_LEARNING_S, _BESIDE_S = bindparam("learning_s", type_=Float), bindparam("beside_s", type_=Float)
_USUAL_STEPS, _USUAL_BATCH = bindparam("usual_steps", type_=Float), bindparam("usual_batch", type_=Float)
_BASE_ID: BindParameter[str] = bindparam("base_id")
_JOB_IDS: BindParameter[UUID] = bindparam("job_ids", expanding=True)

# Of a guided picture of the base's own size a step takes `step_s`; one without guidance takes half of that.
_GENERATING_S = (
    func.greatest(0, Generation.steps * Generation.count - Job.step)
    * _STEP_S
    * (cast(Generation.width_px * Generation.height_px, Float) / (_NATIVE_PX * _NATIVE_PX))
    * ROWS_OF_PICTURE
    / 2
)
# Of a step of learning with the usual batch; `beside_s` for all that a learning does beside its steps.
_LEARNING_LEFT_S = (
    case(
        (Job.stage == "learning", func.greatest(0, Job.steps_total - Job.step)),
        (Job.stage.in_(PAST_STEPS), 0),
        else_=func.coalesce(Job.settings["steps"].as_float(), _USUAL_STEPS),
    )
    * _LEARNING_S
    * (func.coalesce(Job.settings["batch"].as_float(), _USUAL_BATCH) / _USUAL_BATCH)
    + _BESIDE_S
)
# What an open job still takes of the device when it has it to itself. Nothing is known of forgettings.
_SECONDS_LEFT = case(
    (Job.kind == JobKind.GENERATE.value, _GENERATING_S), (Job.kind == JobKind.LEARN.value, _LEARNING_LEFT_S)
)
_LEARNS = Job.kind.in_([kind.value for kind in LANE])
_OPEN_WORK = (
    select()
    .select_from(Job)
    .join(History, Job.history_id == History.id)
    .outerjoin(Generation, Generation.job_id == Job.id)
    .where(History.base_id == _BASE_ID, Job.state.in_([state.value for state in OPEN]))
)
_DEVICES = select(func.count()).select_from(WorkerRow).where(WorkerRow.base_id == _BASE_ID, is_alive())
_ROWS = _OPEN_WORK.add_columns(func.sum(Generation.count * ROWS_OF_PICTURE), _DEVICES.scalar_subquery())
_SUMS = _OPEN_WORK.add_columns(Job.owner_id, _LEARNS, func.sum(_SECONDS_LEFT)).group_by(Job.owner_id, _LEARNS)
_OWN_JOBS = (
    _OPEN_WORK.add_columns(Job.id, Job.owner_id, _LEARNS, _SECONDS_LEFT)
    .where(Job.owner_id.in_(select(Job.owner_id).where(Job.id.in_(_JOB_IDS))))
    .order_by(Job.deadline_at.nulls_last(), Job.sequence)
)
_BASES = (
    select(Job.id, BaseModelRow)
    .join(History, Job.history_id == History.id)
    .join(BaseModelRow, BaseModelRow.id == History.base_id)
    .where(Job.id.in_(_JOB_IDS))
)


def estimates_of(session: Session, jobs: Sequence[Job]) -> dict[UUID, float]:
    """Job -> seconds until it is done, of those that wait; without those of a kind that nothing was measured of yet."""
    waiting = [job.id for job in jobs if job.state == JobState.QUEUED]
    on_base: dict[BaseModelRow, set[UUID]] = {}
    for job_id, base in session.execute(_BASES, {"job_ids": waiting}) if waiting else ():
        on_base.setdefault(base, set()).add(job_id)
    found: dict[UUID, float] = {}
    for base, job_ids in on_base.items():
        found |= _estimates_on(session, base, job_ids)
    return found


def note_estimate(session: Session, job: Job) -> None:
    """Write down what is said of a new job, to be held against what it comes to. To be committed by the caller."""
    session.flush()
    job.estimated_s = estimates_of(session, [job]).get(job.id)


def _estimates_on(session: Session, base: BaseModelRow, job_ids: Collection[UUID]) -> dict[UUID, float]:
    """Of jobs on one base. Of other owners no more is read than a sum for each, however much waits."""
    share = float(base.facts.get("learning_share", HALF))
    rows, devices = session.execute(_ROWS, {"base_id": base.id}).one()
    measured = _measured(session, base, int(rows or 0))
    wanted = {(owner, lane): float(total or 0) for owner, lane, total in session.execute(_SUMS, measured)}
    own: dict[tuple[UUID, bool], float] = {}  # of each owner's work so far, in their own order
    found: dict[UUID, float] = {}
    for job_id, owner, lane, left in session.execute(_OWN_JOBS, {**measured, "job_ids": list(job_ids)}):
        own[owner, lane] = own.get((owner, lane), 0.0) + float(left or 0)
        if job_id in job_ids and left is not None:
            others = [total for (other, its), total in wanted.items() if its == lane and other != owner]
            beside = sum(total for (_, its), total in wanted.items() if its != lane)
            until = seconds_until_done(own[owner, lane], others, beside, share if lane else 1 - share, devices)
            found[job_id] = round(until, 1)
    return found


def _measured(session: Session, base: BaseModelRow, rows: int) -> dict[str, Any]:
    """What the statements above are handed. rows: of pictures, that wait or are being made."""
    learning_s, usual = base.facts.get("seconds_per_step", {}).get("learning"), base.facts.get("learning", {})
    is_known = learning_s is not None and "steps" in usual
    return {
        "base_id": base.id,
        "step_s": _picture_step_s(base.facts, rows),
        "native_px": base.facts.get("native_px"),
        "learning_s": learning_s,
        "usual_steps": usual.get("steps"),
        "usual_batch": usual.get("batch", 1),
        "beside_s": _seconds_beside_steps(session, base.id) if is_known else None,
    }


def _picture_step_s(facts: Mapping[str, Any], rows: int) -> float | None:
    """Seconds of a step for each guided picture when `rows` rows wait: the more go together, the less each takes."""
    measured = {int(known): float(seconds) for known, seconds in facts.get("row_seconds", {}).items()}
    if not measured:
        step_s: float | None = facts.get("seconds_per_step", {}).get("generating")
        return step_s
    nearest = min((known for known in measured if known >= rows), default=max(measured))
    return 2 * measured[nearest]


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
