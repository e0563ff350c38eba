"""What a benchmark has finished, kept one file a piece in the tree, so that it goes on from there on any machine."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cns.history_folder import write_atomically

DIGITS = 6
"""Significant digits of what is kept: finer than any repetition on another machine repeats."""


def digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of plain facts; numbers count as far as they are kept."""
    return hashlib.sha256(json.dumps(rounded(facts), sort_keys=True).encode()).hexdigest()


class Kept:
    """A folder of JSON files, each the answer to one question. An answer whose question has changed is not there.

    A question is a digest of all that decides the answer: see `digest_of`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Whether there is an answer of that name, to whatever question."""
        return self._path(name).is_file()

    def find(self, name: str, question: str) -> dict[str, Any] | None:
        """The answer of that name, if it is one to exactly this question."""
        if not self.has(name):
            return None
        answer: dict[str, Any] = json.loads(self._path(name).read_text(encoding="utf-8"))
        return answer if answer["question"] == question else None

    def put(self, name: str, question: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a finished answer, and give it back as `find` will. A half-written one can never be found.

        Each of its parts is one line of the file. Raises ValueError for a number that is not finite.
        """
        kept = json.loads(json.dumps(rounded({"question": question, **answer}), allow_nan=False))
        lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in kept.items())
        write_atomically(self._path(name), f"{{\n{lines}\n}}\n".encode())
        return dict(kept)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """The same facts with every number to so many significant digits; tuples as lists."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(part, digits) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part, digits) for part in value]
    return value
