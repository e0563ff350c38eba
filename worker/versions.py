"""Versions ready for use: deltas read from the store, K/V weights composed of them, K and V of prompts under them.

All are kept while in use.
"""

import threading
from collections.abc import Collection, Sequence

from app.storage import BlobStore
from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.delta import Delta
from worker.prompts import PromptCache
from worker.recent import Recent

MOST_DELTA_BYTES = 1_000_000_000
MOST_VERSION_BYTES = 1_000_000_000  # composed weights lie in the device's memory: 80 MB each for SD 1.5 in float16


class Versions:
    """Deltas by digest, and versions by the digests of their deltas in order.

    prompts: K and V of prompts, of which at most `prompt_bytes` are kept.
    """

    def __init__(self, base: BaseModel, store: BlobStore, prompt_bytes: int = 0):
        self._base, self._store = base, store
        self.prompts = PromptCache(base, prompt_bytes)
        self._deltas: Recent[str, Delta] = Recent(MOST_DELTA_BYTES, _delta_bytes)
        self._composed: Recent[tuple[str, ...], Version] = Recent(MOST_VERSION_BYTES, self._own_bytes)
        self._reading = threading.Lock()

    def deltas(self, digests: Sequence[str]) -> tuple[Delta, ...]:
        """The deltas of those digests, in order; from any thread. DeltaError or NotFound for one that is no more."""
        with self._reading:
            found = []
            for digest in digests:
                if digest not in self._deltas:
                    self._deltas[digest] = Delta.from_bytes(self._store.get(digest), base_id=self._base.id)
                found.append(self._deltas[digest])
            return tuple(found)

    def composed(self, deltas: Sequence[Delta]) -> Version:
        """The version that `deltas` make of the base; on the engine's thread, as its weights lie on the device."""
        key = tuple(delta.digest for delta in deltas)
        if key not in self._composed:
            self._composed[key] = compose(self._base, deltas)
        return self._composed[key]

    def drop(self, digests: Collection[str]) -> None:
        """Keep nothing of those deltas any more, nor of what was made of them; on the engine's thread."""
        with self._reading:
            for digest in digests:
                self._deltas.pop(digest, None)
        for key in [key for key in self._composed if not set(key).isdisjoint(digests)]:
            del self._composed[key]
        self.prompts.drop(digests)

    def _own_bytes(self, version: Version) -> int:
        """What a version holds beyond the base's own weights."""
        own = (weight for layer, weight in version.weights.items() if weight is not self._base.kv_weights[layer])
        return sum(weight.numel() * weight.element_size() for weight in own)


def _delta_bytes(delta: Delta) -> int:
    """Its tensors and its file, which it keeps as it was read."""
    tensors = [*delta.positions.values(), *delta.values.values()]
    return len(delta.data) + sum(tensor.nbytes for tensor in tensors)
