"""The database and the broker: yours where they are named, private ones in a folder for whoever has none.

Private servers are real ones, from Python wheels. They listen on Unix sockets that only this user can open, belong to
whoever started them, and end with it.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.config import Settings
from app.private_postgres import Postgres
from app.private_valkey import ServerNotStarted, Valkey

__all__ = [
    "FolderInUse",
    "Postgres",
    "ServerNotStarted",
    "Servers",
    "Valkey",
    "broker_url",
    "note",
    "private_servers",
    "servers_for",
]
NOTE = "in-use"


class FolderInUse(Exception):
    """Somebody runs over this folder already. note: what they wrote down about themselves."""

    def __init__(self, folder: Path, note: dict[str, str]):
        super().__init__(f"{folder} is in use already" + (f": {note['ADDRESS']}" if "ADDRESS" in note else "."))
        self.note = note


@dataclass(frozen=True)
class Servers:
    """Where they can be reached. private: those that we started. address: where the pages over this database are, where
    somebody runs whom we joined.
    """

    database_url: str
    redis_url: str
    private: tuple[Postgres | Valkey, ...] = ()
    address: str = ""


@contextmanager
def private_servers(folder: Path, durable: bool = True) -> Iterator[Servers]:
    """Both servers over the data in `folder`, made if need be; stopped when the block is left."""
    with servers_for(Settings(), folder, durable=durable) as servers:
        yield servers


@contextmanager
def servers_for(config: Settings, folder: Path, *, durable: bool = True, join: bool = False) -> Iterator[Servers]:
    """Those that the settings name, and private ones in the place of what they do not name.

    join: where somebody runs over `folder` already, theirs stand in the place of private ones, instead of raising
    FolderInUse.
    """
    named = config.model_fields_set
    if {"database_url", "redis_url"} <= named:
        yield Servers(config.database_url, config.redis_url)
        return
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what people keep here is nobody else's to look at
            stack.enter_context(sole_use(folder))
        except OSError as error:
            owner = " Who began it, perhaps as root, can go on with it." if isinstance(error, PermissionError) else ""
            raise ServerNotStarted(f"Nothing can be kept in {folder}: {error.strerror or error}.{owner}") from None
        except FolderInUse as error:
            if not join or not {"DATABASE_URL", "REDIS_URL"} <= error.note.keys():
                raise
            yield _joined(config, error.note)
            return
        started: list[Postgres | Valkey] = []

        def start(server: Postgres | Valkey) -> str:
            stack.callback(server.close)
            server.start()
            started.append(server)
            return server.url

        redis_url = config.redis_url if "redis_url" in named else start(Valkey(folder / "valkey"))
        database_url = config.database_url if "database_url" in named else start(Postgres(folder / "postgres", durable))
        servers = Servers(database_url, redis_url, tuple(started))
        note(folder, DATABASE_URL=servers.database_url, REDIS_URL=servers.redis_url)
        yield servers


def _joined(config: Settings, noted: dict[str, str]) -> Servers:
    """What the settings name is what is meant, or a command would do its work on another database than it was told."""
    named = config.model_fields_set
    database_url = config.database_url if "database_url" in named else noted["DATABASE_URL"]
    redis_url = config.redis_url if "redis_url" in named else noted["REDIS_URL"]
    address = noted.get("ADDRESS", "") if database_url == noted["DATABASE_URL"] else ""
    return Servers(database_url, redis_url, address=address)


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep others from `folder` while the block runs. Raises FolderInUse. After a crash the lock is free by itself."""
    with (folder / NOTE).open("a+") as file:
        _lock(file, folder)
        file.truncate(0)
        yield
        file.truncate(0)


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        lines = (line.partition("=") for line in file.read().splitlines())
        raise FolderInUse(folder, {name: value for name, _, value in lines}) from None


def note(folder: Path, **facts: str) -> None:
    """Write down where this run can be reached, for commands that want to join it and for backups."""
    with (folder / NOTE).open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in facts.items())


def broker_url(redis_url: str) -> str:
    """The same server as Celery writes it: it has a name of its own for Unix sockets."""
    return redis_url.replace("unix://", "redis+socket://", 1)
