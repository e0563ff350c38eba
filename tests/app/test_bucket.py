"""What a bucket has to see to by itself: how it is addressed, what it says when it is away, and what it never says."""

import logging

import pytest
from fastapi.testclient import TestClient

from app.bucket import Access, Bucket, BucketAway
from app.config import Settings, WrongSettings, read_settings
from app.main import create_app
from app.storage import BlobStore
from app.stores import open_store
from tests.app.s3 import KEY, SECRET, OldBucket, make_bucket, make_old

NOWHERE = "http://127.0.0.1:9"  # the port that throws everything away, where nobody listens


def settings_of(access: Access, url: str) -> Settings:
    return read_settings(
        {
            "BLOB_URL": url,
            "BLOB_ENDPOINT": access.endpoint,
            "BLOB_REGION": access.region,
            "BLOB_ACCESS_KEY": KEY,
            "BLOB_SECRET_KEY": SECRET,
        }
    )


def test_two_services_share_a_bucket_under_their_own_prefixes(s3: str) -> None:
    access = make_bucket(s3)
    stores = [open_store(settings_of(access, f"s3://{access.bucket}{prefix}")) for prefix in ("", "/a", "/a/b/")]
    digests = [store.put(b"%d" % number) for number, store in enumerate(stores)]
    assert [[name for name, _ in store.digests()] for store in stores] == [[digest] for digest in digests]
    everything = {file.name for file in Bucket(access, "").all()}
    assert everything == {
        f"{prefix}blobs/{digest[:2]}/{digest}" for prefix, digest in zip(("", "a/", "a/b/"), digests, strict=True)
    }


def test_what_the_settings_leave_empty_is_taken_from_the_usual_variables(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that store speaks plain HTTP."""
    access = make_bucket(s3)
    usual = {
        "AWS_ENDPOINT_URL": access.endpoint,
        "AWS_REGION": access.region,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    for name, value in usual.items():
        monkeypatch.setenv(name, value)
    store = open_store(read_settings({"BLOB_URL": f"s3://{access.bucket}"}))
    assert store.get(store.put(b"kept")) == b"kept"


def test_what_is_stored_again_is_young_again_when_it_was_old(s3: str) -> None:
    access = make_bucket(s3)
    store = BlobStore(OldBucket(access, "blobs"), OldBucket(access, "thumbnails"))
    digest = store.put(b"twice")
    make_old(store)
    old = store.stat(digest)
    store.put(b"twice")
    young = store.stat(digest)
    assert old is not None
    assert young is not None
    assert young.stored_at - old.stored_at > 7000


def test_a_bucket_that_is_not_there_or_cannot_be_reached_is_an_error_of_the_storage(s3: str) -> None:
    access = make_bucket(s3)
    for wrong in (Access("no-such-bucket", s3, "us-east-1", KEY, SECRET), Access("any", NOWHERE, "x", KEY, SECRET)):
        with pytest.raises(BucketAway, match=r"the object store failed \(put: "):
            Bucket(wrong, "blobs").check_writable()
    Bucket(access, "blobs").check_writable()


def test_a_service_whose_bucket_is_away_is_not_ready_and_says_which_part(
    s3: str, config: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    access = make_bucket(s3)
    told = {}
    for place, endpoint in (("there", access.endpoint), ("away", NOWHERE)):
        changes = {
            "blob_url": f"s3://{access.bucket}/ours",
            "blob_endpoint": endpoint,
            "blob_region": access.region,
            "blob_access_key": KEY,
            "blob_secret_key": SECRET,
        }
        with TestClient(create_app(config.model_copy(update=changes), lambda *_, **__: None)) as client:
            answer = client.get("/readyz")
            told[place] = answer.status_code, answer.json()["storage"]
    assert told == {"there": (200, "ok"), "away": (503, "cannot be reached (BucketAway)")}
    assert SECRET not in caplog.text


def test_the_secret_is_in_nothing_that_is_written_down(s3: str) -> None:
    access = make_bucket(s3)
    chosen = settings_of(access, f"s3://{access.bucket}")
    with pytest.raises(BucketAway) as caught:
        open_store(chosen.model_copy(update={"blob_endpoint": NOWHERE})).check_writable()
    for said in (repr(chosen), repr(access), str(caught.value), repr(caught.value)):
        assert SECRET not in said
        assert KEY not in said


@pytest.mark.parametrize("url", ["bucket", "http://bucket", "s3://", "s3://key:secret@bucket", "s3://bucket?x=1"])
def test_an_address_that_is_none_is_named_by_its_setting(url: str) -> None:
    with pytest.raises(WrongSettings, match="BLOB_URL: a bucket is written"):
        read_settings({"BLOB_URL": url})
