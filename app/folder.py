"""Files in a local folder that all processes share.

A file is written under a temporary name, synced, then renamed: a reader, or a power cut, finds all of it or none.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.storage import StorageAway, StoredFile


class Folder:
    """`Files` in a folder, which is made when it is needed.

    durable: whether a file is on the disk when `write` returns; not needed for what can be made again.
    """

    def __init__(self, folder: Path, durable: bool = True):
        self.folder, self.durable = folder, durable

    def write(self, name: str, data: bytes) -> None:
        path = self.path(name)
        with _spoken():
            if not _made_young(path):
                self._write(path, data)

    def _write(self, path: Path, data: bytes) -> None:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sync(self.folder)  # or a power cut takes the new folder along, with the file in it
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                if self.durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._sync(path.parent)

    def read(self, name: str) -> bytes:
        with _spoken(may_be_missing=True):
            return self.path(name).read_bytes()

    def stat(self, name: str) -> StoredFile | None:
        try:
            with _spoken(may_be_missing=True):
                found = self.path(name).stat()
        except FileNotFoundError:
            return None
        return StoredFile(name, found.st_mtime, found.st_size)

    def remove(self, name: str) -> None:
        with _spoken():
            self.path(name).unlink(missing_ok=True)

    def all(self, under: str = "") -> Iterator[StoredFile]:
        with _spoken():
            for path in self.path(under).rglob("*"):
                if path.is_file() and (found := self.stat(path.relative_to(self.folder).as_posix())):
                    yield found  # unless it was collected by another process meanwhile

    def check_writable(self) -> None:
        with _spoken():
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".probe.{secrets.token_hex(8)}"
            probe.write_bytes(b"")
            probe.unlink()

    def free_bytes(self) -> int | None:
        with _spoken():
            return shutil.disk_usage(self.folder).free

    def path(self, name: str) -> Path:
        return self.folder / name

    def _sync(self, folder: Path) -> None:
        if not self.durable:
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _made_young(path: Path) -> bool:
    """Whether it was there to be made young again."""
    with suppress(FileNotFoundError):
        os.utime(path)
        return True
    return False


@contextmanager
def _spoken(may_be_missing: bool = False) -> Iterator[None]:
    """Errors of the system as StorageAway, so that whoever answers for the storage tells them from those of a line that
    broke. may_be_missing: FileNotFoundError stays what it is.
    """
    try:
        yield
    except StorageAway:
        raise
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError):
            raise
        raise StorageAway(error.errno, error.strerror or str(error), error.filename) from error
