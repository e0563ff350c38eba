"""Files in a bucket of an S3-compatible object store, over obstore.

Each file is one PUT, which such a store takes as a whole or not at all. obstore would send larger ones in parts, and
parts whose writer was killed stay in the bucket, and on its bill, without showing in any list.
"""

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from app.storage import StorageAway, StoredFile

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

FRESH_S = 600.0  # a file that young need not be sent again to be young; the collector leaves alone six times that
CONNECT_WITHIN, ANSWER_WITHIN = timedelta(seconds=3), timedelta(seconds=60)
TRY_FOR = timedelta(seconds=20)  # with growing pauses, when the store is away or overloaded
LOOK_WITHIN = timedelta(seconds=3)  # of a readiness check, which must not wait for retries
LISTED_AT_ONCE = 1000
LOOKING = ("get", "head")


class BucketAway(StorageAway):
    """The object store did not do what it was asked for. Says which kind of error it was, and nothing it was sent."""

    def __init__(self, what: str, error: Exception):
        super().__init__(errno.EIO, f"the object store failed ({what}: {type(error).__name__})")


@dataclass(frozen=True)
class Access:
    """Where a bucket is and who asks. What is empty is taken from the usual AWS_... variables.

    endpoint: of a store other than Amazon's, such as http://minio:9000.
    """

    bucket: str
    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)

    def config(self) -> "S3Config":
        given: dict[str, Any] = {
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
        }
        return {name: value for name, value in given.items() if value}  # type: ignore[return-value]


class Bucket:
    """`Files` below a prefix of a bucket. The bucket is there already and keeps no versions of what is removed."""

    def __init__(self, access: Access, prefix: str):
        options: ClientConfig = {
            "connect_timeout": CONNECT_WITHIN,
            "timeout": ANSWER_WITHIN,
        }
        if (access.endpoint or os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http://"):
            options["allow_http"] = True
        patient: RetryConfig = {"retry_timeout": TRY_FOR}
        at_once: RetryConfig = {"max_retries": 0, "retry_timeout": LOOK_WITHIN}
        config = access.config()
        # Addressed by http://endpoint/bucket, which every compatible store understands without names of its own in DNS.
        self._store = S3Store(access.bucket, prefix=prefix, config=config, client_options=options, retry_config=patient)
        self._probe = S3Store(
            access.bucket,
            prefix=prefix,
            config=config,
            client_options={**options, "connect_timeout": LOOK_WITHIN, "timeout": LOOK_WITHIN},
            retry_config=at_once,
        )

    def write(self, name: str, data: bytes) -> None:
        found = self.stat(name)
        if found is not None and time.time() - found.stored_at < FRESH_S:
            return
        with _spoken("put"):
            obstore.put(self._store, name, data, use_multipart=False)

    def read(self, name: str) -> bytes:
        with _spoken("get"):
            return bytes(obstore.get(self._store, name).bytes())

    def stat(self, name: str) -> StoredFile | None:
        try:
            with _spoken("head"):
                found = obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        return StoredFile(name, found["last_modified"].timestamp(), found["size"])

    def remove(self, name: str) -> None:
        with _spoken("delete"):
            obstore.delete(self._store, name)

    def all(self, under: str = "") -> Iterator[StoredFile]:
        with _spoken("list"):
            for several in obstore.list(self._store, under or None, chunk_size=LISTED_AT_ONCE):
                for found in several:
                    yield StoredFile(found["path"], found["last_modified"].timestamp(), found["size"])

    def check_writable(self) -> None:
        name = f".probe.{secrets.token_hex(8)}"
        with _spoken("put"):
            obstore.put(self._probe, name, b"", use_multipart=False)
            obstore.delete(self._probe, name)

    def free_bytes(self) -> int | None:
        return None


@contextmanager
def _spoken(what: str) -> Iterator[None]:
    """Errors of obstore as BucketAway. FileNotFoundError stays what it is where a file was asked for; anywhere else it
    means that there is no such bucket.
    """
    try:
        yield
    except FileNotFoundError as error:
        if what in LOOKING:
            raise
        raise BucketAway(what, error) from None
    except BaseError as error:
        raise BucketAway(what, error) from None
