"""Finished cells on disk: one JSON each, written whole or not at all, and used again only for the same question."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.continual.streams import Stream
from cns.history_folder import write_atomically


def digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of plain facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stream_digest(stream: Stream) -> str:
    """SHA-256 (64 hex digits) of everything in a stream, its pictures included."""
    facts = [
        [one.name, one.class_noun, one.lesson.captions, [[p.kind, p.template] for p in one.prompts], one.twin]
        + [_picture_digest(picture) for picture in (*one.lesson.pictures, *one.held_out, *one.beside)]
        for one in stream.concepts
    ]
    compositions = [[one.names, one.template] for one in stream.compositions]
    return digest_of({"concepts": facts, "generic": stream.generic_prompts, "compositions": compositions})


def _picture_digest(picture: Image.Image) -> str:
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()


class CellStore:
    """A folder of cells. A cell whose question (options, budget, stream, base...) has changed counts as not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Whether there is a cell of that name, whatever its question."""
        return (self.folder / f"{name}.json").is_file()

    def find(self, name: str, question: str) -> dict[str, Any] | None:
        """The cell of that name, if it answers exactly this question (a digest)."""
        if not self.has(name):
            return None
        cell: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        return cell if cell["question"] == question else None

    def put(self, name: str, question: str, cell: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a finished cell; a half-written one can never be found."""
        kept = {"question": question, **cell}
        write_atomically(self.folder / f"{name}.json", (json.dumps(kept, indent=1, allow_nan=False) + "\n").encode())
        return kept
