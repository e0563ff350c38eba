"""What a folder has to see to by itself: that a file has its name only when all of it is on the disk."""

import hashlib
import os
from pathlib import Path

import pytest

from app.folder import Folder
from app.storage import BlobStore, blob_name
from app.stores import folder_store


def test_the_same_bytes_are_one_file_that_is_young_again(store: BlobStore) -> None:
    digest = store.put(b"twice")
    path = store.blobs.path(blob_name(digest))
    os.utime(path, (1, 1))
    number = path.stat().st_ino
    assert store.put(b"twice") == digest
    assert path.stat().st_ino == number
    assert path.stat().st_mtime > 1


def test_a_write_that_fails_leaves_nothing(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(b"too much")
    assert list(store.blobs.all()) == []


def test_a_file_has_its_name_only_when_all_of_it_is_on_the_disk(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    real = os.fsync
    digest = hashlib.sha256(b"whole").hexdigest()

    def look(handle: int) -> None:
        synced.append(store.has(digest))
        real(handle)

    monkeypatch.setattr(os, "fsync", look)
    store.put(b"whole")
    assert synced == [False, False, True]  # the new folder, the file before its name, then the name


def test_what_can_be_made_again_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: pytest.fail("It waited."))
    small = Folder(tmp_path / "small", durable=False)
    small.write("96/ab/one.webp", b"small")
    assert small.read("96/ab/one.webp") == b"small"


def test_it_says_when_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(OSError, match="a file"):
        folder_store(tmp_path / "a file" / "blobs").check_writable()
    good = Folder(tmp_path / "made when needed")
    good.check_writable()
    assert list(good.folder.iterdir()) == []
