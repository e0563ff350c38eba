"""One attempt at a job, from its claim to its end. Whatever happens, the job's row says what became of it."""

import logging
from collections.abc import Callable
from traceback import clear_frames
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from app.errors import AppError
from app.histories.models import BaseModelRow, History
from app.jobs.claims import CancelCameFirst, LostClaim, end, hand_back
from app.jobs.models import Job, JobKind, JobState
from app.queue import TASK_OF
from app.storage import DamagedBlob
from cns.errors import CnsError
from cns.memory import is_out_of_memory
from worker.checkpoints import forget_checkpoint
from worker.engine import EngineStopped
from worker.errors import CancelAsked, ClaimGone, OtherBase, TookTooLong, WorkerStops
from worker.hands import Hold
from worker.reports import bases_to_serve
from worker.transactions import AWAY, transact

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong in the worker. Try again; if it happens again, tell an administrator this job's id."
CALLED = {JobKind.LEARN: "learning", JobKind.GENERATE: "generation", JobKind.FORGET: "forgetting"}
NO_MEMORY = {
    JobKind.LEARN: "The device's memory does not suffice for this learning: choose a smaller batch or gradient "
    "checkpointing.",
    JobKind.GENERATE: "The device's memory does not suffice for these pictures: make them smaller, or fewer at once.",
    JobKind.FORGET: "The device's memory does not suffice for this forgetting. Try again when it has less to do; if it "
    "happens again, tell an administrator.",
}
NO_STORAGE = "The server cannot use its storage ({}). Try again when an administrator has seen to it."
DAMAGED = "A stored file of this job is missing or damaged, so it cannot be done: {}"


def attempt(worker: "Worker", job_id: UUID, kind: JobKind, work: Callable[["Worker", Hold], None]) -> bool:
    """Claim the job, do `work`, which publishes its result, and see to whatever else becomes of it.

    Returns whether there was something to do. Safe to call twice for one job: who comes second finds nothing.
    """
    with bound_contextvars(job_id=str(job_id)):
        try:
            return _attempt(worker, job_id, kind, work)
        except AWAY as error:
            # Nothing can be written. If it was claimed, its lease runs out; whoever reaches the database takes it back.
            log.error("Left to the sweep, as the database is away: %s", str(error).splitlines()[0])
            return True


def _attempt(worker: "Worker", job_id: UUID, kind: JobKind, work: Callable[["Worker", Hold], None]) -> bool:
    if not _is_ours(worker, job_id):
        return False
    hold = worker.hands.take(job_id, kind.value)
    if hold is None:
        return False
    log.info("Attempt %d of a %s.", hold.claim.attempt, CALLED[kind])
    try:
        try:
            try:
                work(worker, hold)
            except BaseException as error:
                clear_frames(error.__traceback__)  # as it holds them, and may be held by them: see `let_go`
                raise
            log.info("Done.")
        except (ClaimGone, LostClaim):
            log.warning("Attempt %d is over; what it made is dropped.", hold.claim.attempt)
        except (CancelAsked, CancelCameFirst):
            log.info("Cancelled.")
            _end(worker, hold, JobState.CANCELLED)
        except (WorkerStops, EngineStopped):
            _give_back(worker, hold)
        except (DamagedBlob, AppError) as error:
            log.warning("Failed: %s", error)
            _end(worker, hold, JobState.FAILED, DAMAGED.format(error))
        except OSError as error:
            log.exception("The storage cannot be used.")
            reason = NO_STORAGE.format(error.strerror or type(error).__name__)
            _end(worker, hold, JobState.FAILED, reason, keeps_checkpoint=True)
        except OtherBase as error:
            log.info("Failed: %s", error)
            _end(worker, hold, JobState.FAILED, str(error), keeps_checkpoint=True)  # of use when its worker is back
        except (CnsError, TookTooLong) as error:
            log.info("Failed: %s", error)
            _end(worker, hold, JobState.FAILED, str(error))
    except AWAY:
        raise
    except Exception as error:
        log.exception("Failed.")
        _end(worker, hold, JobState.FAILED, NO_MEMORY[kind] if is_out_of_memory(error) else OUR_FAULT)
    finally:
        worker.hands.release(hold)
    return True


def _is_ours(worker: "Worker", job_id: UUID) -> bool:
    """Whether this worker's base is the one of the job's history, or nobody else will do it either."""
    with worker.sessions() as session:
        job = session.get(Job, job_id)
        history = session.get(History, job.history_id) if job is not None else None
        return history is not None and history.base_id in bases_to_serve(worker, session)


def check_base(worker: "Worker", history: History, base: BaseModelRow | None) -> None:
    """Raise OtherBase for a history that was made on another base than this worker's."""
    if history.base_id != worker.equipment.base.id:
        name = (base.facts.get("name") or base.source) if base is not None else history.base_id[:12]
        raise OtherBase(
            f"This history was made on the base model {name}, and no worker has that one loaded; "
            f"this server runs {worker.equipment.name}."
        )


def _end(
    worker: "Worker", hold: Hold, state: JobState, error: str | None = None, *, keeps_checkpoint: bool = False
) -> None:
    """Say what became of it. keeps_checkpoint: whether its checkpoint, if there is one, may be of use yet."""

    def write(session: Session) -> str | None:
        checkpoint = session.scalar(select(Job.checkpoint_sha256).where(Job.id == hold.job_id))
        end(session, hold.claim, state, error, keeps_checkpoint=keeps_checkpoint)
        return None if keeps_checkpoint else checkpoint

    try:
        checkpoint = transact(worker.sessions, write)
    except LostClaim:
        log.warning("It was ended by somebody else.")
        return
    worker.bell.wake(hold.job_id)
    if checkpoint is not None:
        forget_checkpoint(worker, checkpoint)


def _give_back(worker: "Worker", hold: Hold) -> None:
    """Back into the queue, and ring for it, so that another worker need not wait for its sweep."""
    try:
        transact(worker.sessions, lambda session: hand_back(session, hold.claim), patience_s=5)
    except CancelCameFirst:
        log.info("Cancelled.")
        _end(worker, hold, JobState.CANCELLED)
        return
    except LostClaim:
        log.warning("It was no longer ours to hand back.")
        return
    log.info("Handed back.")
    worker.bell.wake(hold.job_id)
    worker.ring(TASK_OF[hold.kind], hold.job_id)
