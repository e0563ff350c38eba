"""What a worker says about itself: its base model, and what it has in hand."""

import resource
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.histories.models import BaseModelRow
from app.jobs.models import LANE, JobKind, WorkerRow
from worker.device import free_bytes
from worker.orders import Size
from worker.transactions import PATIENCE_S, transact

if TYPE_CHECKING:
    from worker.process import Worker

FORGOTTEN_AFTER = timedelta(hours=1)
# A base that no worker has reported for so long will not come back soon. A worker that was only started anew is there
# by then, though its base may be a large one.
BASE_GONE = timedelta(minutes=5)


def report_base(worker: "Worker", patience_s: float = PATIENCE_S) -> None:
    """The base's row: what pages show of it, and how long its steps take on this worker.

    seconds_per_step: "generating", a denoising step of one guided picture of the base's own size; "learning", a step
    with the default batch. row_seconds: of a row of a step with up to so many rows, for pictures of that size.
    """
    base, facts = worker.equipment.base, worker.equipment.facts()
    rows = {
        "generating": (worker.engine.painter.row_pace, 2),
        "learning": (worker.learning_pace, worker.equipment.learning.batch),
    }
    measured = {
        name: round(pace.seconds * count, 5) for name, (pace, count) in rows.items() if pace.seconds is not None
    }

    facts["learning_share"] = worker.settings.learning_share
    own_size, capacity = (base.native_px, base.native_px), worker.engine.painter.capacity
    row_seconds = {str(count): round(seconds, 6) for count, seconds in capacity.row_seconds(own_size).items()}

    def write(session: Session) -> None:
        row = session.get(BaseModelRow, base.id)
        known = row.facts if row else {}
        facts["seconds_per_step"] = known.get("seconds_per_step", {}) | measured
        facts["row_seconds"] = known.get("row_seconds", {}) | row_seconds
        made = insert(BaseModelRow).values(id=base.id, source=worker.equipment.source, facts=facts)
        update = {"facts": made.excluded.facts, "source": made.excluded.source, "seen_at": func.now()}
        session.execute(made.on_conflict_do_update(index_elements=[BaseModelRow.id], set_=update))

    transact(worker.sessions, write, patience_s)


def report_worker(worker: "Worker", patience_s: float = PATIENCE_S) -> None:
    made = insert(WorkerRow).values(
        id=worker.id,
        base_id=worker.equipment.base.id,
        device=device_name(worker.equipment.base.device),
        holds=holds(worker),
    )
    update = {"holds": made.excluded.holds, "seen_at": func.now()}
    transact(
        worker.sessions,
        lambda session: session.execute(made.on_conflict_do_update(index_elements=[WorkerRow.id], set_=update)),
        patience_s,
    )


def forget_worker(worker: "Worker") -> None:
    """It ends in good order, and takes its row with it."""
    try:
        transact(
            worker.sessions, lambda session: session.execute(delete(WorkerRow).where(WorkerRow.id == worker.id)), 2
        )
    except Exception:  # the database may be away; the row is forgotten by a sweep then
        return


def forget_silent_workers(session: Session) -> list[str]:
    """Returns their ids, of whom there may be more left than their rows."""
    silent = delete(WorkerRow).where(WorkerRow.seen_at < func.now() - FORGOTTEN_AFTER).returning(WorkerRow.id)
    return list(session.scalars(silent))


def bases_to_serve(worker: "Worker", session: Session) -> set[str]:
    """This worker's base, and those that nobody has any more: somebody must tell whoever asks for them.

    It is this worker's alone until it has watched for as long as one may be away: others may just be starting, as it
    was, or the database was away, or the machine slept, so that nobody could say that they have one.
    """
    if worker.sweep.watched < BASE_GONE:
        return {worker.equipment.base.id}
    gone = select(BaseModelRow.id).where(BaseModelRow.seen_at < func.now() - BASE_GONE)
    return {worker.equipment.base.id, *session.scalars(gone)}


def holds(worker: "Worker") -> dict[str, Any]:
    """What it has in hand."""
    held = worker.hands.held()
    return {
        "jobs": [str(hold.job_id) for hold in held],
        "learnings": sum(hold.kind in LANE for hold in held),
        "generations": sum(hold.kind == JobKind.GENERATE for hold in held),
        "rows": worker.engine.rows_waiting,
        "batches": batches(worker),
        "versions": worker.versions.composed.figures(),
        "prompts": worker.versions.prompts.figures(),
        "memory_bytes": memory_bytes(worker.equipment.base.device),
    }


def batches(worker: "Worker") -> list[dict[str, Any]]:
    """For each size of pictures made here: how many rows go together, and what one row of so many takes."""
    capacity, free = worker.engine.painter.capacity, free_bytes(worker.equipment.base.device)
    return [
        {
            "size": size_name(size, worker.equipment.base.native_px),
            "rows": capacity.rows(size, free),
            "row_seconds": {str(rows): round(seconds, 6) for rows, seconds in capacity.row_seconds(size).items()},
        }
        for size in capacity.sizes
    ]


def size_name(size: Size, native_px: int) -> str:
    """Width x height in pixels."""
    height, width = (side or native_px for side in size)
    return f"{width}x{height}"


def memory_bytes(device: torch.device) -> int:
    """What it takes of the device's memory; on the CPU the most that the process ever had."""
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device)[:60] if device.type == "cuda" else str(device)
