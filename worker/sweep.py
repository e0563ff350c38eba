"""The sweep: takes back what a dead worker left behind, and rings again for what nobody came for.

A message may be lost with the broker, and a worker may die with jobs in hand. Both are made good for here, by whichever
worker is alive.
"""

import logging
import threading
import time
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from app.jobs.claims import ready, take_back_expired
from app.jobs.models import LANE, JobKind
from app.queue import own_queue_of
from worker.reports import bases_to_serve, forget_silent_workers
from worker.transactions import AWAY, transact

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)


class StoodStill(Exception):
    """The database answered only after so long that leases may have run out which nobody could renew."""


class Sweep:
    """Runs every `sweep_s` seconds on a thread of its own, and at once when it starts."""

    def __init__(self, worker: "Worker"):
        self._worker = worker
        self._patient_until = float("-inf")
        self._watches_since = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        self._watches_since = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def end(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        every_s = self._worker.settings.sweep_s
        older_than = timedelta(0)
        due = time.time()
        while not self._stopped.is_set():
            if self._is_late(due):
                log.warning(
                    "This process or the database stood still for a while; leases that ran out may yet be renewed."
                )
                self.be_patient()
            due = time.time() + every_s  # from here on, as the database may stand still during a sweep as well
            try:
                self.once(older_than)
                older_than = timedelta(seconds=every_s)
            except AWAY as error:
                self.be_patient()
                log.warning("The database is away; the sweep waits: %s", str(error).splitlines()[0])
            except Exception:
                log.exception("A sweep failed.")
            self._stopped.wait(every_s)

    def _is_late(self, due: float) -> bool:
        """By the clock on the wall, as the other one stands still while the machine sleeps. Within half a lease no
        lease runs out that was renewed in time.
        """
        return time.time() - due > self._worker.settings.lease_s / 2

    def be_patient(self) -> None:
        """Nobody could renew a lease or report a base, as the database was away or stood still, or the machine slept.
        Whoever is alive does so first.
        """
        self._watches_since = time.monotonic()
        self._patient_until = self._watches_since + self._worker.settings.lease_s

    @property
    def is_patient(self) -> bool:
        """Whether others are still to be given time to say that they are there."""
        return time.monotonic() < self._patient_until

    @property
    def watched(self) -> timedelta:
        """For how long this worker has been there, with a database in which others could say that they are there too.

        Before that it knows nothing of them: all of them may have been stopped until a moment ago, as for a backup.
        """
        return timedelta(seconds=time.monotonic() - self._watches_since)

    def once(self, older_than: timedelta = timedelta(0)) -> None:
        begun = time.time()
        self._worker.hands.beat()  # first: after a pause of this process its own leases are those that ran out
        if not self.is_patient:
            self._take_back(begun)
        if not self.is_patient:
            for gone in transact(self._worker.sessions, forget_silent_workers, patience_s=0):
                self._worker.bell.drop_queue(own_queue_of(gone))
        self.ring(older_than)

    def _take_back(self, begun: float) -> None:
        """Nothing where the database stood still since then: what ran out meanwhile may be that of whoever is alive."""

        def take_back(session: Session) -> None:
            take_back_expired(session)
            if self._is_late(begun):
                raise StoodStill

        try:
            transact(self._worker.sessions, take_back, patience_s=0)
        except StoodStill:
            log.warning("The database stood still for a while; leases that ran out meanwhile may yet be renewed.")
            self.be_patient()

    def ring(
        self,
        older_than: timedelta = timedelta(0),
        kinds: Collection[JobKind] = tuple(JobKind),
        most: int | None = None,
    ) -> None:
        """Send messages for jobs that could be claimed now, the oldest first, for every free hand of this worker.

        More would pile up in the queue: whoever comes free later is served by the messages that are there, or by the
        sweep after. Nor is there one for whoever has as many in hand here as one may: it would be taken for nothing.
        What makes versions and what makes pictures is rung for by itself, however much of the other is older.
        most: no more messages than that, of either.
        """
        hands = self._worker.settings.worker_threads - len(self._worker.hands.held())
        hands = hands if most is None else min(hands, most)
        for lane, room in ((LANE, self._worker.free_learning_slots), ((JobKind.GENERATE,), hands)):
            wanted = [kind for kind in lane if kind in kinds]
            if wanted and not self._ring(older_than, wanted, min(hands, room)):
                return

    def _ring(self, older_than: timedelta, kinds: Collection[JobKind], most: int) -> bool:
        """Of these kinds, and no more messages than that; whether the broker took them."""
        worker = self._worker
        if most <= 0:
            return True
        with worker.sessions() as session:
            bases, bounds = bases_to_serve(worker, session), worker.most_of_one
            waiting = ready(session, older_than, bases, kinds, worker=worker.id, most_of_one=bounds)
        return all(worker.ring(task, job_id) for job_id, task in waiting[:most])
