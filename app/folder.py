"""Files in a local folder that all processes share.

A file is written under a temporary name, synced, then renamed: a reader, or a power cut, finds all of it or none. What
people keep is nobody else's to look at: other users of the machine cannot enter the folder, whatever the umask says.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.storage import StorageAway, StoredFile


class Folder:
    """`Files` in a folder, which is made when it is needed.

    durable: whether a file is on the disk when `write` returns; not needed for what can be made again. besides: a
    folder in it that has files of another kind, which are not listed. within: whether it is such a folder, which others
    are kept out of by the one that it lies in.
    """

    def __init__(self, folder: Path, durable: bool = True, besides: str = "", within: bool = False):
        self.folder, self.durable, self.besides, self.within = folder, durable, besides, within

    def write(self, name: str, data: bytes) -> None:
        path = self.path(name)
        with _spoken():
            if not _made_young(path):
                self._write(path, data)

    def _write(self, path: Path, data: bytes) -> None:
        if not path.parent.exists():
            self._make()
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

    def _make(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o777 if self.within else 0o700, exist_ok=True)

    def close_to_others(self) -> None:
        """A folder that was made in another way, where it is ours. A group that may write to it may go on: somebody had
        a reason.
        """
        with suppress(OSError):  # it is not there yet, or cannot be reached
            found = self.folder.stat()
            may_enter = 0o007 if found.st_mode & stat.S_IWGRP else 0o077
            if found.st_uid == os.geteuid() and found.st_mode & may_enter:
                self.folder.chmod(stat.S_IMODE(found.st_mode) & ~may_enter)

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
            for place, folders, names in os.walk(self.path(under), onerror=_raise_unless_missing):
                if self.besides in folders and Path(place) == self.folder:
                    folders.remove(self.besides)
                for name in names:
                    if found := self.stat((Path(place) / name).relative_to(self.folder).as_posix()):
                        yield found  # unless it was collected by another process meanwhile

    def check_writable(self) -> None:
        with _spoken():
            self._make()
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


def _raise_unless_missing(error: OSError) -> None:
    """A folder that cannot be looked into may have what is looked for; one that is not there has nothing."""
    if not isinstance(error, FileNotFoundError):
        raise error


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
