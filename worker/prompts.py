"""K and V of prompts under versions, computed once and kept while there is room."""

from collections.abc import Collection

from cns.base_model import BaseModel
from cns.compose import Version
from cns.prompts import EncodedPrompt, encode_prompt
from worker.recent import Recent

Key = tuple[tuple[str, ...], str]
"""Digests of a version's deltas in order, and the text of a prompt."""


class PromptCache:
    """What prompts bring to the UNet, by version and text; what was not used for longest makes room.

    most_bytes: of K, V and pooled text together. hits, misses: how often a prompt was there, and was not.

    The text alone is no key: a version changes K and V of every prompt, the empty one too. On the engine's thread, as
    it all lies in the device's memory; `figures` is for any thread.
    """

    def __init__(self, base: BaseModel, most_bytes: int):
        self._base = base
        self._kept: Recent[Key, EncodedPrompt] = Recent(most_bytes, lambda prompt: prompt.nbytes)
        self.hits = self.misses = 0

    def encode(self, version: Version, prompt: str) -> EncodedPrompt:
        """What `prompt` brings under `version`. Raises UnknownToken, and then nothing is kept."""
        key = (tuple(delta.digest for delta in version.deltas), prompt)
        if key in self._kept:
            self.hits += 1
            return self._kept[key]
        self.misses += 1
        self._kept[key] = made = encode_prompt(self._base, version, prompt)
        return made

    def drop(self, digests: Collection[str]) -> None:
        """Keep nothing of any version that one of those deltas is part of."""
        for key in [key for key in self._kept if not set(key[0]).isdisjoint(digests)]:
            del self._kept[key]

    def figures(self) -> dict[str, int]:
        return {
            "hits": self.hits,
            "misses": self.misses,
            "entries": len(self._kept),
            "bytes": self._kept.nbytes,
        }
