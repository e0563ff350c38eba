"""A learned delta becomes a version: one transaction for the version, the head, its log and the job."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.blobs import keep
from app.histories.models import History, Version
from app.histories.versions import next_number
from app.jobs.claims import end, keep_for_publishing
from app.jobs.models import JobState
from cns.delta import Delta
from cns.history_folder import as_json
from worker.errors import ClaimGone
from worker.guarding import held_back_by, move_head_on
from worker.hands import Hold
from worker.lessons import Task
from worker.transactions import transact

if TYPE_CHECKING:
    from worker.process import Worker

MEDIA_TYPE = "application/x-palimpsest-delta"


@dataclass
class Learned:
    """What came of a learning. peak_bytes: of a GPU's memory in use during its steps; None on a CPU."""

    delta: Delta
    losses: list[float]
    seconds: dict[str, float]
    peak_bytes: int | None = None
    diagnosis: list[Any] = field(default_factory=list)
    examination: dict[str, Any] = field(default_factory=dict)


def publish(worker: "Worker", hold: Hold, task: Task, learned: Learned) -> int:
    """Add the version below the one it was learned on; returns its number.

    Head follows, with two exceptions: the version did damage and the history guards its head (worker/guarding.py), or
    its user moved head meanwhile. Then head stays where it is, and the version is a branch.
    """
    worker.store.put(learned.delta.to_bytes())  # outside of the transaction, as it waits for the disk

    def write(session: Session) -> int:
        keep_for_publishing(session, hold.claim)
        history = session.scalar(select(History).where(History.id == task.history_id).with_for_update())
        if history is None:
            raise ClaimGone
        version = add_version(worker, session, history, learned, parent_id=task.parent_id, concept_id=task.concept_id)
        version.job_id = task.job_id
        version.held_back = held_back_by(session, history, task, learned.diagnosis)
        is_head = move_head_on(session, history, task, version)
        held_back = [{"sentence": one["sentence"], "remedy": one["remedy"]} for one in version.held_back]
        end(session, hold.claim, JobState.DONE, version=version.number, is_head=is_head, held_back=held_back)
        return version.number

    number = transact(worker.sessions, write)
    worker.bell.wake(hold.job_id)
    return number


def add_version(
    worker: "Worker",
    session: Session,
    history: History,
    learned: Learned,
    *,
    parent_id: UUID | None,
    concept_id: UUID,
) -> Version:
    """What was learned as a version with the next number. The history is locked, and the delta lies in the store."""
    data = learned.delta.to_bytes()
    version = Version(
        history_id=history.id,
        parent_id=parent_id,
        concept_id=concept_id,
        number=next_number(session, history),
        delta_sha256=keep(session, worker.store, data, MEDIA_TYPE),
        delta_bytes=len(data),
        report=as_json({**learned.delta.report, "loss": learned.losses, "peak_memory_bytes": learned.peak_bytes}),
        seconds=as_json(learned.seconds),
        diagnosis=as_json(learned.diagnosis),
        examination=as_json(learned.examination),
    )
    session.add(version)
    session.flush()
    return version
