"""Real servers for the service's tests: one private PostgreSQL and one Valkey a session, emptied for each test."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from app.config import Settings
from app.db import Sessions, make_engine, make_sessions
from app.main import create_app
from app.migrate import migrate
from app.servers import Servers, private_servers
from app.storage import BlobStore
from app.stores import folder_store
from app.tables import Base
from tests.app.person import Person, make_person
from tests.app.s3 import OldBucket, make_bucket, s3_server


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with private_servers(tmp_path_factory.mktemp("servers"), durable=False) as running:
        migrate(running.database_url)
        yield running


@pytest.fixture(scope="session")
def engine(servers: Servers) -> Iterator[Engine]:
    made = make_engine(servers.database_url)
    yield made
    made.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    """Sessions of a database whose every table is empty."""
    with engine.begin() as connection:
        names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))  # a session that was left open must not hang us
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    return make_sessions(engine)


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """A Valkey with nothing in it."""
    client = redis.Redis.from_url(servers.redis_url)
    client.flushall()
    client.close()
    return servers.redis_url


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server() as address:
        yield address


@pytest.fixture(params=["folder", "bucket"])
def each_kind(request: pytest.FixtureRequest) -> str:
    """A test that uses it is run with a store of each kind."""
    return str(request.param)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """An empty store: in a folder, but for tests that are run with each kind."""
    kind = request.getfixturevalue("each_kind") if "each_kind" in request.fixturenames else "folder"
    if kind == "folder":
        return folder_store(tmp_path / "blobs")
    access = make_bucket(request.getfixturevalue("s3"))
    return BlobStore(OldBucket(access, "ours/blobs"), OldBucket(access, "ours/thumbnails"))


@pytest.fixture
def sent() -> list[tuple[str, dict[str, str]]]:
    """The messages that left, in order."""
    return []


@pytest.fixture
def config(servers: Servers, redis_url: str, store: BlobStore) -> Settings:
    return Settings(
        database_url=servers.database_url, redis_url=redis_url, blob_folder=store.blobs.folder, log_level="ERROR"
    )


@pytest.fixture
def client(config: Settings, sessions: Sessions, sent: list[tuple[str, dict[str, str]]]) -> Iterator[TestClient]:
    """A client of the whole service, logged in as nobody; the worker is not rung but written down in `sent`."""

    def send(task: str, *, kwargs: dict[str, str], queue: str) -> None:
        sent.append((task, kwargs))

    with TestClient(create_app(config, send), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def ada(client: TestClient, sessions: Sessions) -> Person:
    """A user with an API key and a history named "pets"."""
    return make_person(client, sessions, "ada")


@pytest.fixture
def bob(client: TestClient, sessions: Sessions) -> Person:
    """Another user, with an API key and a history of his own."""
    return make_person(client, sessions, "bob")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more can be written to the end."""

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
