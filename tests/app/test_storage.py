"""Bytes by their digest, in a folder and in a bucket alike: all of a file or none, and never other bytes than were
stored.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import NotFound
from app.storage import BlobStore, DamagedBlob, blob_name
from app.thumbnails import thumbnail, thumbnail_name
from tests.app.person import png

pytestmark = pytest.mark.usefixtures("each_kind")


def test_what_is_stored_comes_back_under_its_sha256(store: BlobStore) -> None:
    digest = store.put(b"a picture")
    assert digest == hashlib.sha256(b"a picture").hexdigest()
    assert store.get(digest) == b"a picture"
    assert store.has(digest)
    assert [file.name for file in store.blobs.all()] == [f"{digest[:2]}/{digest}"]


def test_nothing_at_all_can_be_stored_too(store: BlobStore) -> None:
    assert store.get(store.put(b"")) == b""


def test_a_file_larger_than_an_object_store_likes_to_take_at_once_is_stored_whole(store: BlobStore) -> None:
    data = bytes(range(256)) * (6 * 1024 * 1024 // 256)
    digest = store.put(data)
    assert store.get(digest) == data
    found = store.stat(digest)
    assert found is not None
    assert found.size_bytes == len(data)


def test_a_missing_file_is_not_found(store: BlobStore) -> None:
    with pytest.raises(NotFound, match="is missing"):
        store.get("a" * 64)
    assert not store.has("a" * 64)


def test_changed_bytes_are_never_handed_out(store: BlobStore) -> None:
    digest = store.put(b"as it was")
    store.remove(digest)
    store.blobs.write(blob_name(digest), b"as it is!")
    with pytest.raises(DamagedBlob, match="its bytes have changed"):
        store.get(digest)


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" * 21 + "a", "a" * 64 + "\n", "g" * 64])
def test_only_a_digest_leads_to_a_file(store: BlobStore, digest: str) -> None:
    with pytest.raises(ValueError, match="is not a SHA-256"):
        store.has(digest)


def test_many_may_store_the_same_at_once(store: BlobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: store.put(b"x" * 100_000), range(32)))) == 1
    assert len(list(store.blobs.all())) == 1


def test_only_whole_files_are_listed(store: BlobStore) -> None:
    digest = store.put(b"listed")
    store.blobs.write(f"{digest[:2]}/.{digest}.abc.part", b"half")
    store.blobs.write(f"{digest[:2]}/a note", b"")
    store.blobs.write(f"other/{digest}", b"in a place that is not its own")
    assert [name for name, _ in store.digests()] == [digest]


def test_removing_twice_is_no_error(store: BlobStore) -> None:
    digest = store.put(b"gone")
    store.remove(digest)
    store.remove(digest)
    assert not store.has(digest)


def test_a_thumbnail_is_kept_beside_the_blobs_and_made_again_when_it_is_missing(store: BlobStore) -> None:
    digest = store.put(png(seed=1))
    small = thumbnail(store, digest, 96)
    assert [file.name for file in store.thumbnails.all()] == [thumbnail_name(digest, 96)]
    assert [name for name, _ in store.digests()] == [digest]
    store.thumbnails.remove(thumbnail_name(digest, 96))
    assert thumbnail(store, digest, 96) == small
    assert store.thumbnails.read(thumbnail_name(digest, 96)) == small


def test_looking_whether_it_can_be_written_leaves_nothing(store: BlobStore) -> None:
    store.check_writable()
    assert list(store.blobs.all()) == []
