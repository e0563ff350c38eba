"""Bytes by their digest: all of a file or none, and never other bytes than were stored."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import NotFound
from app.storage import BlobStore, DamagedBlob


def test_what_is_stored_comes_back_under_its_sha256(store: BlobStore) -> None:
    digest = store.put(b"a picture")
    assert digest == hashlib.sha256(b"a picture").hexdigest()
    assert store.get(digest) == b"a picture"
    assert store.has(digest)
    assert store.path(digest).relative_to(store.folder).as_posix() == f"{digest[:2]}/{digest}"


def test_nothing_at_all_can_be_stored_too(store: BlobStore) -> None:
    assert store.get(store.put(b"")) == b""


def test_the_same_bytes_are_one_file_that_is_young_again(store: BlobStore) -> None:
    digest = store.put(b"twice")
    os.utime(store.path(digest), (1, 1))
    number = store.path(digest).stat().st_ino
    assert store.put(b"twice") == digest
    assert store.path(digest).stat().st_ino == number
    assert store.path(digest).stat().st_mtime > 1


def test_a_missing_file_is_not_found(store: BlobStore) -> None:
    with pytest.raises(NotFound, match="is missing"):
        store.get("a" * 64)
    assert not store.has("a" * 64)


def test_changed_bytes_are_never_handed_out(store: BlobStore) -> None:
    digest = store.put(b"as it was")
    store.path(digest).write_bytes(b"as it is!")
    with pytest.raises(DamagedBlob, match="its bytes have changed"):
        store.get(digest)


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" * 21 + "a", "a" * 64 + "\n", "g" * 64])
def test_only_a_digest_leads_to_a_file(store: BlobStore, digest: str) -> None:
    with pytest.raises(ValueError, match="is not a SHA-256"):
        store.path(digest)


def test_a_write_that_fails_leaves_nothing(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(b"too much")
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


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


def test_many_may_store_the_same_at_once(store: BlobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: store.put(b"x" * 100_000), range(32)))) == 1
    assert len(list(store.folder.rglob("*"))) == 2  # a folder, a file


def test_only_whole_files_are_listed(store: BlobStore) -> None:
    digest = store.put(b"listed")
    (store.path(digest).parent / f".{digest}.abc.part").write_bytes(b"half")
    (store.path(digest).parent / "a note").write_bytes(b"")
    assert [name for name, _ in store.digests()] == [digest]


def test_removing_twice_is_no_error(store: BlobStore) -> None:
    digest = store.put(b"gone")
    store.remove(digest)
    store.remove(digest)
    assert not store.has(digest)


def test_it_says_when_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(OSError, match="a file"):
        BlobStore(tmp_path / "a file" / "blobs").check_writable()
    good = BlobStore(tmp_path / "made when needed")
    good.check_writable()
    assert list(good.folder.iterdir()) == []
