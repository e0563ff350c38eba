"""Bytes by their SHA-256, in a local folder that all processes share.

A file is written under a temporary name, synced, then renamed: a reader, or a power cut, finds all of it or none.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from app.errors import NotFound

_DIGEST = re.compile(r"[0-9a-f]{64}")


class DamagedBlob(Exception):
    """A stored file no longer has the bytes that were stored."""


class BlobStore:
    """FOLDER/ab/abcdef... for the content whose SHA-256 begins with "ab"."""

    def __init__(self, folder: Path):
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Store `data`; returns its SHA-256. Content that is there already is not written again."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.path(digest)
        if path.exists():
            os.utime(path)  # young again, so that the collector leaves it for its new owner
            return digest
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _sync_folder(self.folder)  # or a power cut takes the new folder along, with the file in it
        temporary = path.with_name(f".{digest}.{secrets.token_hex(8)}.part")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of that digest. NotFound when they are not there, DamagedBlob when they have changed."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"The stored file {digest[:12]} is missing.") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedBlob(f"The stored file {digest[:12]} is damaged: its bytes have changed.")
        return data

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is not a SHA-256 in hex.")
        return self.folder / digest[:2] / digest

    def digests(self) -> Iterator[tuple[str, float]]:
        """Every stored digest with the time its file was last stored, in seconds since 1970."""
        for path in self.folder.glob("??/*"):
            if _DIGEST.fullmatch(path.name):
                try:
                    yield path.name, path.stat().st_mtime
                except FileNotFoundError:
                    continue  # collected by another process meanwhile

    def remove(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    def check_writable(self) -> None:
        """Raise OSError unless a file can be written and removed here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        probe = self.folder / f".probe.{secrets.token_hex(8)}"
        probe.write_bytes(b"")
        probe.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
