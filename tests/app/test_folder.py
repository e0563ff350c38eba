"""What a folder has to see to by itself: that a file has its name only when all of it is on the disk."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from app.folder import Folder
from app.main import create_app
from app.old_thumbnails import remove_old_thumbnails
from app.storage import BlobStore, StorageAway, blob_name
from app.stores import folder_store
from app.thumbnails import thumbnail, thumbnail_name
from tests.app.person import png
from tests.worker.processes import wait_until


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
    assert mode(store.blobs.folder) == 0o700
    assert store.thumbnails.folder.parent == store.blobs.folder
    Folder(tmp_path / "looked at").check_writable()
    assert mode(tmp_path / "looked at") == 0o700


@pytest.mark.usefixtures("generous")
def test_other_users_are_kept_out_from_now_on_where_they_were_let_in_before(tmp_path: Path) -> None:
    for name, before, after in (("ours", 0o755, 0o700), ("a group's", 0o2775, 0o2770), ("closed", 0o700, 0o700)):
        folder = tmp_path / name / "blobs"
        folder.mkdir(parents=True)
        folder.chmod(before)
        store = folder_store(folder)
        assert mode(folder) == after, name
        assert store.get(store.put(b"still to be had")) == b"still to be had"


def test_a_folder_is_all_that_thumbnails_need(tmp_path: Path) -> None:
    """What lies beside it may be somebody else's, who lets nobody in, as where it is the root of a volume."""
    (tmp_path / "thumbnails").write_bytes(b"of another program")
    store = folder_store(tmp_path / "blobs")
    digest = store.put(png(seed=1))
    small = thumbnail(store, digest, 96)
    again = folder_store(tmp_path / "blobs")  # of a process on another machine
    assert again.thumbnails.read(thumbnail_name(digest, 96)) == small
    assert [file.name for file in again.blobs.all()] == [blob_name(digest)]
    assert [file.name for file in again.thumbnails.all()] == [thumbnail_name(digest, 96)]
    store.check_writable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "thumbnails"]


def test_a_place_where_no_thumbnail_can_be_written_is_told_of(store: BlobStore) -> None:
    store.put(b"a picture")
    store.thumbnails.folder.write_bytes(b"")
    with pytest.raises(StorageAway, match="File exists"):
        store.check_writable()


def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_an_empty_one(store: BlobStore) -> None:
    assert list(store.blobs.all()) == []  # nothing has been stored yet
    store.blobs.folder.write_bytes(b"")
    with pytest.raises(StorageAway, match="Not a directory"):
        list(store.blobs.all())


def old_thumbnail(folder: Path, digest: str) -> Path:
    """One where an earlier release kept them."""
    path = folder.parent / "thumbnails" / thumbnail_name(digest, 96)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"small")
    return path


def test_thumbnails_of_before_are_removed_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    settings = Settings(blob_folder=tmp_path / "blobs")
    store = folder_store(settings.blob_folder)
    thumbnail(store, digest := store.put(png(seed=1)), 96)
    whole = old_thumbnail(settings.blob_folder, "ab" * 32)
    whole.with_name(f".{whole.name}.{'0' * 16}.part").write_bytes(b"ha")
    remove_old_thumbnails(settings)
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]
    assert store.thumbnails.stat(thumbnail_name(digest, 96))
    others = [tmp_path / "thumbnails" / "96" / name for name in ("holiday.webp", f"ab/{'ab' * 32}.png")]
    gone = old_thumbnail(settings.blob_folder, "ab" * 32)
    for path in others:
        path.write_bytes(b"theirs")
    remove_old_thumbnails(settings)
    assert not gone.exists()
    assert [path.read_bytes() for path in others] == [b"theirs", b"theirs"]


def test_the_web_process_removes_thumbnails_of_before(tmp_path: Path) -> None:
    old = old_thumbnail(tmp_path / "blobs", "ab" * 32)
    with TestClient(create_app(Settings(blob_folder=tmp_path / "blobs"), lambda *_, **__: None)):
        wait_until(lambda: not old.parents[2].exists(), "they are gone")


def test_it_says_when_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(OSError, match="a file"):
        folder_store(tmp_path / "a file" / "blobs").check_writable()
    good = Folder(tmp_path / "made when needed")
    good.check_writable()
    assert list(good.folder.iterdir()) == []
