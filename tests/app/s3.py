"""An S3 server on loopback, in a process of its own, and buckets in it whose files can be made old."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from app.bucket import Access, Bucket
from app.storage import BlobStore, StoredFile

SERVER = """
import os, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until whoever started us closes it, or has gone
os._exit(0)
"""
NAME, KEY, SECRET = "palimpsest", "who-asks", "a-secret-that-nobody-may-read"


@contextmanager
def s3_server() -> Iterator[str]:
    """Its address."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def make_bucket(address: str, name: str = NAME) -> Access:
    """An empty one: what was in it is gone."""
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    directly.open(urllib.request.Request(f"{address}/moto-api/reset", method="POST")).close()  # noqa: S310 - ours
    directly.open(urllib.request.Request(f"{address}/{name}", method="PUT")).close()  # noqa: S310 - ours
    return Access(name, endpoint=address, region="us-east-1", access_key=KEY, secret_key=SECRET)


class OldBucket(Bucket):
    """A bucket that can be told that its files are old: the server's clock is not ours to turn back."""

    def __init__(self, access: Access, prefix: str):
        super().__init__(access, prefix)
        self._old: dict[str, float] = {}

    def age(self, stored_at: float) -> None:
        self._old = {file.name: stored_at for file in super().all()}

    def stat(self, name: str) -> StoredFile | None:
        found = super().stat(name)
        return found and self._as_told(found)

    def all(self, under: str = "") -> Iterator[StoredFile]:
        return map(self._as_told, super().all(under))

    def write(self, name: str, data: bytes) -> None:
        super().write(name, data)
        self._old.pop(name, None)

    def _as_told(self, file: StoredFile) -> StoredFile:
        return StoredFile(file.name, self._old.get(file.name, file.stored_at), file.size_bytes)


def make_old(store: BlobStore, hours: float = 2) -> None:
    """Everything stored was stored that long ago."""
    stored_at = time.time() - hours * 3600
    for files in (store.blobs, store.thumbnails):
        if isinstance(files, OldBucket):
            files.age(stored_at)
        else:
            for file in files.all():
                os.utime(files.path(file.name), (stored_at, stored_at))
