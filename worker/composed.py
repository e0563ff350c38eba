"""Versions with their weights composed, kept while there is room and made of one another."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from cns.base_model import BaseModel
from cns.compose import Version, compose, extend
from cns.delta import Delta
from worker.recent import Recent

TAUGHT_BYTES = 4
"""Of an entry of `TaughtMoment.total`."""

Key = tuple[str, ...]
"""Digests of a version's deltas, in order: the last one alone would rely on every line having been checked."""


class VersionCache:
    """Composed weights by their whole line of deltas; what was not used for longest makes room.

    most_bytes: of weights that are not the base's own, of values that apply at their token alone, and of the matrix
    that a learning leaves with the version it was on (`cns.taught`); what two versions share counts for both.
    hits: how often a version was there. extended: how often it was written over the longest beginning of its line that
    was. misses: how often it had to be composed from the base.

    Deltas are not kept with it, or they would stay in memory beyond their own bound. On the engine's thread, as weights
    lie in the device's memory; `figures` is for any thread.
    """

    def __init__(self, base: BaseModel, most_bytes: int):
        self._base = base
        self._kept: Recent[Key, Version] = Recent(most_bytes, self._own_bytes)
        self.hits = self.extended = self.misses = 0

    def compose(self, deltas: Sequence[Delta]) -> Version:
        """The version that `deltas` make of the base. Raises as `cns.compose.compose` does, and then keeps nothing."""
        key = tuple(delta.digest for delta in deltas)
        if key in self._kept:
            self.hits += 1
            return replace(self._kept[key], deltas=tuple(deltas))
        below = self._find_below(key, deltas)
        version = extend(self._base, below, deltas[len(below.deltas) :])
        if below.deltas:
            self.extended += 1
        else:
            self.misses += 1
        self._kept[key] = replace(version, deltas=())
        return version

    def _find_below(self, key: Key, deltas: Sequence[Delta]) -> Version:
        """The longest beginning of the line that is kept; the bare base where none is."""
        for length in range(len(key) - 1, 0, -1):
            if key[:length] in self._kept:
                return replace(self._kept[key[:length]], deltas=tuple(deltas[:length]))
        return compose(self._base)

    def drop(self, digests: Collection[str]) -> None:
        """Keep nothing of any version that one of those deltas is part of."""
        for key in [key for key in self._kept if not set(key).isdisjoint(digests)]:
            del self._kept[key]

    def figures(self) -> dict[str, int]:
        return {
            "hits": self.hits,
            "extended": self.extended,
            "misses": self.misses,
            "entries": len(self._kept),
            "bytes": self._kept.nbytes,
        }

    def _own_bytes(self, version: Version) -> int:
        """What a version holds beyond the base's own weights, or will once something was learned on it."""
        own = [weight for layer, weight in version.weights.items() if weight is not self._base.kv_weights[layer]]
        apart = [part for values in version.at_tokens.values() for pair in values.values() for part in pair]
        width = next(iter(version.weights.values())).shape[1]
        return sum(tensor.nbytes for tensor in (*own, *apart)) + TAUGHT_BYTES * width**2
