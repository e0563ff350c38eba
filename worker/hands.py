"""What this worker has in hand, and the heartbeat that keeps it."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from app.db import Sessions
from app.jobs.claims import Claim, LostClaim, claim, renew
from app.jobs.models import Job
from worker.errors import CancelAsked, ClaimGone, Dropped, WorkerStops
from worker.transactions import AWAY, is_locked, transact

log = logging.getLogger(__name__)
LOOK_S = 1.0  # how often the cancel flags are looked at, between two heartbeats
# How long a heartbeat waits for a job whose row somebody holds. One that holds it for long, as it waits for the disk,
# must not keep the leases of all the others from being renewed.
LOCKED_MS = 500


class Hold:
    """A claimed job. Between steps its work calls `check`, which raises when it is to be put down."""

    def __init__(self, claim: Claim, kind: str, stopping: threading.Event):
        self.claim, self.kind = claim, kind
        self._stopping = stopping
        self._cancelled = threading.Event()
        self._gone = threading.Event()

    @property
    def job_id(self) -> UUID:
        return self.claim.job_id

    def check(self) -> None:
        if self._gone.is_set():
            raise ClaimGone
        if self._cancelled.is_set():
            raise CancelAsked
        if self._stopping.is_set():
            raise WorkerStops

    @property
    def dropped(self) -> bool:
        try:
            self.check()
        except Dropped:
            return True
        return False

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def cancel(self) -> None:
        self._cancelled.set()

    def lose(self) -> None:
        self._gone.set()


class Hands:
    """Takes jobs, keeps their leases, and hears of cancellations."""

    def __init__(self, sessions: Sessions, worker: str, lease: timedelta, heartbeat_s: float):
        self._sessions, self._worker, self._lease = sessions, worker, lease
        self._heartbeat_s = heartbeat_s
        self._held: dict[UUID, Hold] = {}
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.on_beat: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No new job is taken, and every job in hand is put down at its next step; the heart beats on until `end`."""
        self.stopping.set()

    def end(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def held(self) -> list[Hold]:
        with self._lock:
            return list(self._held.values())

    def take(self, job_id: UUID, kind: str) -> Hold | None:
        """Claim a job. None when it is not to be had, or this worker stops."""
        if self.stopping.is_set():
            return None
        claimed = transact(self._sessions, lambda session: claim(session, job_id, self._worker, self._lease))
        if claimed is None:
            return None
        hold = Hold(claimed, kind, self.stopping)
        with self._lock:
            self._held[job_id] = hold
        return hold

    def release(self, hold: Hold) -> None:
        with self._lock:
            if self._held.get(hold.job_id) is hold:
                del self._held[hold.job_id]

    # --- the heartbeat -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        next_beat = 0.0
        look_s = min(LOOK_S, self._heartbeat_s)
        while not self._ended.wait(look_s):
            try:
                if time.monotonic() >= next_beat:
                    if self.beat():  # one that fails, or not reaches all, is tried again at the next look
                        next_beat = time.monotonic() + self._heartbeat_s
                    self.on_beat()
                else:
                    self.look()
            except AWAY as error:
                log.warning("The database is away; leases wait: %s", str(error).splitlines()[0])
            except Exception:
                log.exception("A heartbeat failed.")

    def beat(self) -> bool:
        """Renew every lease, each in its own transaction, so that a lost one disturbs no other.

        Returns whether each was reached. One whose row is locked is passed over, and asked for again soon.
        """
        reached = [self._renew(hold) for hold in self.held()]
        return all(reached)

    def _renew(self, hold: Hold) -> bool:
        try:
            with self._sessions() as session, session.begin():
                session.execute(text(f"SET LOCAL lock_timeout = {LOCKED_MS}"))
                if renew(session, hold.claim, self._lease):
                    hold.cancel()
        except LostClaim:
            log.debug("Job %s is no longer ours, or has just ended.", hold.job_id)
            hold.lose()
        except OperationalError as error:
            if not is_locked(error):
                raise
            log.info("The row of job %s is locked; its lease is renewed a moment later.", hold.job_id)
            return False
        return True

    def look(self) -> None:
        """Read the cancel flags of everything in hand."""
        held = {hold.job_id: hold for hold in self.held()}
        if not held:
            return
        with self._sessions() as session:
            asked = session.scalars(select(Job.id).where(Job.id.in_(held), Job.cancel_requested))
            for job_id in asked:
                held[job_id].cancel()
