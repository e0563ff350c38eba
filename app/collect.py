"""Throw away what nobody refers to any more: `python -m app.collect`. Safe while everything runs.

Nothing is thrown away of files that belong to another database (`installation.py`).

A blob goes when no row names it and it is older than an hour: one that is just being stored has its row soon. Whoever
stores a blob takes its row first and then its file (`blobs.keep`); here too the row is held while the file goes. So
neither can happen between the two halves of the other.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.accounts.models import LoginSession
from app.blobs import Blob
from app.commands import servers_of_command
from app.concepts.service import drop_old_uploads
from app.config import Settings, WrongSettings, settings
from app.db import Sessions, make_engine, make_sessions
from app.idempotency import IdempotencyKey
from app.installation import NotOurs, adopt, claim
from app.jobs.service import drop_old_progress
from app.logs import log, set_up_logs
from app.storage import UNFINISHED, BlobStore
from app.stores import open_store
from app.tables import Base
from app.thumbnails import SIZES_PX, thumbnail_name

YOUNG = timedelta(hours=1)
KEYS_KEPT = timedelta(days=1)

Say = Callable[[str, str], Any]


@dataclass(frozen=True)
class Collected:
    """What was thrown away."""

    blobs: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.blobs} unused files removed, {self.bytes / 1e6:.1f} MB."


def references() -> list[ColumnElement[bool]]:
    """Conditions that say: a row names this blob. One for each foreign key to blobs, so that none is forgotten."""
    return [
        exists().where(key.parent == Blob.sha256)
        for table in Base.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name == Blob.__tablename__
    ]


def collect(sessions: Sessions, store: BlobStore, young: timedelta = YOUNG) -> Collected:
    """Remove expired rows, then blobs that no row refers to, then files that have no row at all. NotOurs after the rows
    when the files are not this database's.
    """
    with sessions() as session:
        _drop_expired(session)
        session.commit()
    claim(sessions, store)
    with sessions() as session:
        unused = list(session.scalars(select(Blob.sha256).where(*_unused(young))))
    sizes = [_remove_with_row(sessions, store, digest, young) for digest in unused]
    with sessions() as session:
        known = set(session.scalars(select(Blob.sha256)))
    stored = dict(store.digests())
    for digest, stored_at in stored.items():
        if digest not in known and _is_old(stored_at, young):
            sizes.append(_remove_without_row(sessions, store, digest, young))
    _sweep_floor(store, stored.keys(), young)
    removed = [size for size in sizes if size is not None]
    return Collected(len(removed), sum(removed))


def remove_unused(sessions: Sessions, store: BlobStore, digest: str) -> None:
    """Remove one blob now, however young: its row, file and thumbnails. Nothing when a row names it."""
    if _remove_with_row(sessions, store, digest, timedelta(0)) is None and store.has(digest):
        _remove_without_row(sessions, store, digest, timedelta(0))


def remove_all_unused(sessions: Sessions, store: BlobStore) -> None:
    """Remove every known blob that no row names any more, however young. Whoever stores one of them at this moment has
    its row, and is waited for; it stays then, or is stored again.
    """
    with sessions() as session:
        unused = session.scalars(select(Blob.sha256).where(*_unused(timedelta(0)))).all()
    for digest in unused:
        remove_unused(sessions, store, digest)


def _drop_expired(session: Session) -> None:
    """Sessions that are over, uploads that nobody used, keys that nobody will send again, ticks of jobs long ended."""
    session.execute(delete(LoginSession).where(LoginSession.expires_at < func.now()))
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - KEYS_KEPT))
    drop_old_uploads(session)
    drop_old_progress(session)


def _unused(young: timedelta) -> list[ColumnElement[bool]]:
    return [Blob.created_at < func.now() - young, ~or_(*references())]


def _remove_with_row(sessions: Sessions, store: BlobStore, digest: str, young: timedelta) -> int | None:
    """Its size; None when somebody has come to need it meanwhile."""
    with sessions() as session:
        try:
            gone = session.scalar(delete(Blob).where(Blob.sha256 == digest, *_unused(young)).returning(Blob.sha256))
        except IntegrityError:  # a row that names it was written while we waited; its foreign key forbids it
            return None
        if gone is None:
            return None
        size = _remove_files(store, digest)
        session.commit()
        return size


def _remove_without_row(sessions: Sessions, store: BlobStore, digest: str, young: timedelta) -> int | None:
    """Its transaction was undone. A row of ours, never committed, keeps others from storing it again meanwhile."""
    with sessions() as session:
        mine = insert(Blob).values(sha256=digest, size_bytes=0, media_type="").on_conflict_do_nothing()
        if session.scalar(mine.returning(Blob.sha256)) is None or not _file_is_old(store, digest, young):
            return None
        return _remove_files(store, digest)


def _remove_files(store: BlobStore, digest: str) -> int:
    found = store.stat(digest)
    store.remove(digest)
    for size_px in SIZES_PX:
        store.thumbnails.remove(thumbnail_name(digest, size_px))
    return found.size_bytes if found else 0


def _sweep_floor(store: BlobStore, stored: Collection[str], young: timedelta) -> None:
    """Files of writers that were killed, and thumbnails whose picture has gone. stored: digests that were there."""
    for file in store.blobs.all():
        if file.name.endswith(UNFINISHED) and _is_old(file.stored_at, young):
            store.blobs.remove(file.name)
    for file in store.thumbnails.all():
        digest, _, kind = file.name.rpartition("/")[2].partition(".")
        if (kind != "webp" or digest not in stored) and _is_old(file.stored_at, young):
            store.thumbnails.remove(file.name)


def _file_is_old(store: BlobStore, digest: str, young: timedelta) -> bool:
    found = store.stat(digest)
    return found is not None and _is_old(found.stored_at, young)


def _is_old(stored_at: float, young: timedelta) -> bool:
    return time.time() - stored_at > young.total_seconds()


def keep_collecting(config: Settings, stop: threading.Event, every_s: float, say: Say, warn: Say | None = None) -> None:
    """Collect at once and then every `every_s` seconds until `stop` is set; says so when there was something, and where
    the files are another database's. warn: who is told of that and of what failed, in the place of `say`.

    At once, as somebody may never let it run for as long as that.
    """
    warn = warn or say
    engine = make_engine(config.database_url)
    sessions, store = make_sessions(engine), open_store(config)
    while True:
        try:
            done = collect(sessions, store)
            if done.blobs:
                say("collect", str(done))
        except NotOurs as error:
            warn("collect", str(error))
        except (SQLAlchemyError, OSError) as error:
            warn("collect", f"Nothing was collected this time: {str(error).splitlines()[0]}")
        if stop.wait(every_s):
            break
    engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description="Remove stored files that nothing refers to, and what has expired.")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--every-hours", type=float, help="go on doing so")
    how.add_argument("--adopt", action="store_true", help="say that the stored files are this database's; removes none")
    options = parser.parse_args()
    if not options.every_hours:
        with servers_of_command() as (config, servers):
            engine = make_engine(servers.database_url)
            sessions, store = make_sessions(engine), open_store(config)
            try:
                _write(_adopt(sessions, store) if options.adopt else str(collect(sessions, store)))
            except NotOurs as error:
                sys.exit(str(error))
            finally:
                engine.dispose()
        return
    try:
        config = settings()
    except WrongSettings as error:
        sys.exit(str(error))
    set_up_logs(config.log_format, config.log_level)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    keep_collecting(
        config,
        stop,
        options.every_hours * 3600,
        say=lambda _, line: log.info("collected", said=line),
        warn=lambda _, line: log.warning("not_collected", said=line),
    )


def _adopt(sessions: Sessions, store: BlobStore) -> str:
    stored, known = adopt(sessions, store)
    return f"The stored files are this database's now. It knows {known} of {stored}; collecting removes the others."


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
