"""Bytes by their SHA-256, kept where all processes find them: in a folder (`folder.py`) or a bucket (`bucket.py`)."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from app.errors import NotFound

UNFINISHED = ".part"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class StorageAway(OSError):
    """The storage did not do what it was asked for: it cannot be reached, is full, or may not be written to."""


class DamagedBlob(Exception):
    """A stored file no longer has the bytes that were stored."""


@dataclass(frozen=True)
class StoredFile:
    """name: with slashes, below the place where it is kept. stored_at: seconds since 1970."""

    name: str
    stored_at: float
    size_bytes: int


class Files(Protocol):
    """Files by their names, in one place. A reader finds all of a file or none. Everything may raise StorageAway."""

    def write(self, name: str, data: bytes) -> None:
        """Two files of one name have the same bytes, so one that is there already only becomes young again."""

    def read(self, name: str) -> bytes:
        """FileNotFoundError when it is not there."""

    def stat(self, name: str) -> StoredFile | None:
        """None when it is not there."""

    def remove(self, name: str) -> None:
        """No error when it is not there."""

    def all(self, under: str = "") -> Iterator[StoredFile]:
        """Every file, unfinished ones too, whose names end in .part. under: only those below that folder."""

    def check_writable(self) -> None:
        """Raise StorageAway unless a file can be written and removed here."""

    def free_bytes(self) -> int | None:
        """Room that is left; None where there is no telling."""


class BlobStore:
    """Blobs, and the thumbnails that are made of them, each in a place of its own.

    The blob whose SHA-256 begins with "ab" is the file "ab/abcdef...".
    """

    def __init__(self, blobs: Files, thumbnails: Files):
        self.blobs, self.thumbnails = blobs, thumbnails

    def put(self, data: bytes) -> str:
        """Store `data`; returns its SHA-256. Content that is there already is young again, so that the collector
        leaves it for its new owner.
        """
        digest = hashlib.sha256(data).hexdigest()
        self.blobs.write(blob_name(digest), data)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of that digest. NotFound when they are not there, DamagedBlob when they have changed."""
        try:
            data = self.blobs.read(blob_name(digest))
        except FileNotFoundError:
            raise NotFound(f"The stored file {digest[:12]} is missing.") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedBlob(f"The stored file {digest[:12]} is damaged: its bytes have changed.")
        return data

    def has(self, digest: str) -> bool:
        return self.stat(digest) is not None

    def stat(self, digest: str) -> StoredFile | None:
        """None when it is not there."""
        return self.blobs.stat(blob_name(digest))

    def digests(self) -> Iterator[tuple[str, float]]:
        """Every stored digest with the time its file was last stored, in seconds since 1970."""
        for file in self.blobs.all():
            digest = file.name.rpartition("/")[2]
            if _DIGEST.fullmatch(digest) and file.name == blob_name(digest):
                yield digest, file.stored_at

    def remove(self, digest: str) -> None:
        self.blobs.remove(blob_name(digest))

    def check_writable(self) -> None:
        """Raise StorageAway unless files can be written and removed in both places."""
        self.blobs.check_writable()
        self.thumbnails.check_writable()


def blob_name(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is not a SHA-256 in hex.")
    return f"{digest[:2]}/{digest}"
