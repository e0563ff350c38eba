"""What a folder has to see to by itself: that a file has its name only when all of it is on the disk."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.folder import Folder
from app.storage import BlobStore, blob_name
from app.stores import folder_store
from app.thumbnails import thumbnail
from tests.app.person import png


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


@pytest.fixture
def generous() -> Iterator[None]:
    """What is made may be looked at by everybody, but for who says otherwise."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("generous")
def test_other_users_of_the_machine_are_kept_out(tmp_path: Path) -> None:
    store = folder_store(tmp_path / "var" / "blobs")
    thumbnail(store, store.put(png()), 96)
    assert [mode(files.folder) for files in (store.blobs, store.thumbnails)] == [0o700, 0o700]
    Folder(tmp_path / "looked at").check_writable()
    assert mode(tmp_path / "looked at") == 0o700


@pytest.mark.usefixtures("generous")
def test_other_users_are_kept_out_from_now_on_where_they_were_let_in_before(tmp_path: Path) -> None:
    for name, before, after in (("ours", 0o755, 0o700), ("a group's", 0o2775, 0o2770), ("closed", 0o700, 0o700)):
        folder = tmp_path / name / "blobs"
        for one in (folder, folder.with_name("thumbnails")):
            one.mkdir(parents=True)
            one.chmod(before)
        store = folder_store(folder)
        assert [mode(files.folder) for files in (store.blobs, store.thumbnails)] == [after, after], name
        assert store.get(store.put(b"still to be had")) == b"still to be had"


def test_it_says_when_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(OSError, match="a file"):
        folder_store(tmp_path / "a file" / "blobs").check_writable()
    good = Folder(tmp_path / "made when needed")
    good.check_writable()
    assert list(good.folder.iterdir()) == []
