"""How the server is: what /readyz, /metrics and the administrator's page tell of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.models import User
from app.blobs import Blob
from app.histories.models import BaseModelRow
from app.jobs.models import Job, WorkerRow
from app.jobs.workers import list_workers
from app.state import State


@dataclass(frozen=True)
class Standing:
    """parts: each "ok" or why not. jobs: how many by (kind, state). Bytes: of known blobs, and left on the disk."""

    parts: dict[str, str]
    workers: Sequence[WorkerRow]
    bases: Sequence[BaseModelRow]
    jobs: dict[tuple[str, str], int]
    users: int
    kept_bytes: int
    free_bytes: int | None


def standing_of(state: State) -> Standing:
    """For a page. It needs the database, as every page of somebody logged in does."""
    parts = parts_of(state)  # not over the connection that is held below: to look at the storage may take seconds
    with state.readers() as session:
        counted = session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state))
        return Standing(
            parts=parts,
            workers=list_workers(session),
            bases=session.scalars(select(BaseModelRow).order_by(BaseModelRow.seen_at.desc())).all(),
            jobs={(kind, job_state): count for kind, job_state, count in counted},
            users=session.scalar(select(func.count()).select_from(User)) or 0,
            kept_bytes=int(session.scalar(select(func.sum(Blob.size_bytes))) or 0),
            free_bytes=_free_bytes(state),
        )


def parts_of(state: State) -> dict[str, str]:
    """Database, broker and storage: "ok", or that it cannot be reached."""
    checks: dict[str, Callable[[State], object]] = {
        "database": _ask_database,
        "broker": lambda state: state.redis.ping(),
        "storage": lambda state: state.store.check_writable(),
    }
    found = {}
    for name, check in checks.items():
        try:
            check(state)
            found[name] = "ok"
        except (SQLAlchemyError, RedisError, OSError) as error:
            found[name] = f"cannot be reached ({type(error).__name__})"
    return found


def _ask_database(state: State) -> None:
    with state.readers() as session:
        session.execute(text("SELECT 1"))


def _free_bytes(state: State) -> int | None:
    try:
        return state.store.blobs.free_bytes()
    except OSError:
        return None
