"""Versions as a worker holds them: files of deltas, deltas in memory, and weights composed of them."""

from pathlib import Path

from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.delta import Delta


class Known:
    """Versions of one delta each, by number. disk: a folder of their files.

    Each is in one of three states: on disk alone, its delta in memory, or composed and ready. Nothing is forgotten by
    itself: what a worker may hold is bounded there (`worker/versions.py`), and a lookup there is what it is here.
    """

    def __init__(self, base: BaseModel, folder: Path):
        self._base, self._folder = base, folder
        self._deltas: dict[int, Delta] = {}
        self._ready: dict[int, Version] = {}

    def store(self, number: int, delta: Delta) -> None:
        """Write a version's file, and hold its delta in memory."""
        self._path(number).write_bytes(delta.to_bytes())
        self._deltas[number] = Delta.from_bytes(delta.to_bytes())

    def get(self, number: int) -> Version:
        """The version, from wherever it is."""
        if number not in self._ready:
            self._ready[number] = compose(self._base, [self._delta(number)])
        return self._ready[number]

    def _delta(self, number: int) -> Delta:
        if number not in self._deltas:
            self._deltas[number] = Delta.from_bytes(self._path(number).read_bytes(), base_id=self._base.id)
        return self._deltas[number]

    def forget_weights(self, number: int) -> None:
        """As if nobody had used it: its delta stays in memory."""
        self._ready.pop(number, None)

    def forget(self, number: int) -> None:
        """As if nobody had ever asked for it: its file stays."""
        self.forget_weights(number)
        self._deltas.pop(number, None)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.safetensors"
