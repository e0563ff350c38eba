"""Versions ready for use: deltas read from the store, K/V weights composed of them, K and V of prompts under them.

All are kept while in use.
"""

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future

from app.storage import BlobStore
from cns.base_model import BaseModel
from cns.delta import Delta
from worker.composed import VersionCache
from worker.prompts import PromptCache
from worker.recent import Recent

MOST_DELTA_BYTES = 1_000_000_000


class Versions:
    """Deltas by digest.

    composed: versions with their weights, of which at most `version_bytes` are kept. prompts: K and V of prompts, of
    which at most `prompt_bytes` are kept. Both are for the engine's thread, as they lie in the device's memory.
    """

    def __init__(self, base: BaseModel, store: BlobStore, version_bytes: int = 0, prompt_bytes: int = 0):
        self._base, self._store = base, store
        self.composed = VersionCache(base, version_bytes)
        self.prompts = PromptCache(base, prompt_bytes)
        self._deltas: Recent[str, Delta] = Recent(MOST_DELTA_BYTES, _delta_bytes)
        self._reading: dict[str, Future[Delta]] = {}  # what is being read, and will be kept
        self._lock = threading.Lock()  # of both; nobody reads while they hold it, as the storage may take its time

    def deltas(self, digests: Sequence[str]) -> tuple[Delta, ...]:
        """The deltas of those digests, in order; from any thread. DeltaError or NotFound for one that is no more."""
        return tuple(self._delta(digest) for digest in digests)

    def _delta(self, digest: str) -> Delta:
        """Whoever wants one that somebody reads already waits for that one."""
        with self._lock:
            if digest in self._deltas:
                return self._deltas[digest]
            others = digest in self._reading
            reading = self._reading.setdefault(digest, Future())
        if not others:
            self._read(digest, reading)
        return reading.result()

    def _read(self, digest: str, reading: "Future[Delta]") -> None:
        try:
            delta = Delta.from_bytes(self._store.get(digest), base_id=self._base.id)
        except BaseException as error:
            with self._lock:
                self._is_wanted(digest, reading)
            reading.set_exception(error)
            return
        with self._lock:
            if self._is_wanted(digest, reading):
                self._deltas[digest] = delta
        reading.set_result(delta)

    def _is_wanted(self, digest: str, reading: "Future[Delta]") -> bool:
        """At its end: whether it was not dropped meanwhile."""
        if self._reading.get(digest) is not reading:
            return False
        del self._reading[digest]
        return True

    def drop(self, digests: Collection[str]) -> None:
        """Keep nothing of those deltas any more, nor of what was made of them; on the engine's thread. One that is just
        being read is not kept either.
        """
        with self._lock:
            for digest in digests:
                self._deltas.pop(digest, None)
                self._reading.pop(digest, None)
        self.composed.drop(digests)
        self.prompts.drop(digests)


def _delta_bytes(delta: Delta) -> int:
    """Its tensors and its file, which it keeps as it was read."""
    tensors = [*delta.positions.values(), *delta.values.values()]
    return len(delta.data) + sum(tensor.nbytes for tensor in tensors)
