"""Erasing files so that it can be proved: what was removed, by its bytes, and a look at everything that is left."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cns.errors import CnsError


class ErasureFailed(CnsError):
    """Something that was to be erased is still there."""


@dataclass(frozen=True)
class Erasure:
    """What an erasure removed and what was found afterwards.

    removed: SHA-256 of every content that is gone. still_used: of those that something else needs too, such as a
    picture that another concept was taught with. files_read: how many files were read afterwards, none of which holds
    the bytes of a removed one. checked_at: ISO 8601 with time zone.
    """

    removed: tuple[str, ...]
    still_used: tuple[str, ...]
    files_read: int
    checked_at: str

    def to_json(self) -> dict[str, Any]:
        return {name: list(part) if isinstance(part, tuple) else part for name, part in asdict(self).items()}


def erase_files(folder: Path, doomed: Iterable[Path], needed: Iterable[Path], at: str) -> Erasure:
    """Remove the files `doomed`, then read every file below `folder` and look for the same bytes.

    needed: files that stay, those among them that are there; what they hold is not counted as removed. at: the present
    moment, for the record. Raises ErasureFailed when a file that nobody needs holds the bytes of an erased one.
    """
    paths = tuple(dict.fromkeys(doomed))
    digests = {_digest(path) for path in paths}
    still_used = digests & {_digest(path) for path in needed if path.exists()}
    for path in paths:
        path.unlink(missing_ok=True)
    for parent in {path.parent for path in paths}:
        if not any(parent.iterdir()):
            parent.rmdir()
    removed = digests - still_used
    found = {path: _digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    left = [path for path, digest in found.items() if digest in removed]
    if left:
        raise ErasureFailed(f"Not everything is erased: {left[0]} still holds what was to go.")
    return Erasure(tuple(sorted(removed)), tuple(sorted(still_used)), len(found), at)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
