"""Which database the stored files belong to: to another one they all look like files that nobody refers to.

A database has a name, made once. Beside the files lies a mark that bears it, the file `installation/<name>`. Two
databases have two marks, so of two that come to the same files at once at least one sees the other's.
"""

from uuid import UUID

from sqlalchemy import CheckConstraint, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from app.blobs import Blob
from app.db import Base, Sessions
from app.storage import UNFINISHED, BlobStore

MARKS = "installation"
SAYS = b"The files beside this folder belong to the database that bears the name of this file (README, Backup).\n"
NOTHING_REMOVED = "No stored file was removed: "
HOW_TO_ADOPT = "If they are this one's all the same, `python -m app.collect --adopt` says so."


class Installation(Base):
    """The name of this database. A copy of it has the same one, and so has a dump."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    name: Mapped[UUID] = mapped_column(server_default=func.gen_random_uuid())


class NotOurs(Exception):
    """The stored files belong to another database, or may do. The message is a sentence for whoever runs the server."""


def claim(sessions: Sessions, store: BlobStore) -> None:
    """Mark the files as this database's, where they bear no mark and it knows them. Raises NotOurs unless they are."""
    ours, found = _own_mark(sessions), _marks(store)
    if not found:
        _check_known(sessions, store)
        store.blobs.write(ours, SAYS)
        found = _marks(store)
        if found != {ours}:  # somebody else came at the same time
            store.blobs.remove(ours)
    if found != {ours}:
        raise NotOurs(f"{NOTHING_REMOVED}the files belong to another database than this one. {HOW_TO_ADOPT}")


def adopt(sessions: Sessions, store: BlobStore) -> tuple[int, int]:
    """Mark the files as this database's, whosever they were. Returns how many there are, and how many it knows."""
    ours = _own_mark(sessions)
    store.blobs.write(ours, SAYS)
    for mark in _marks(store) - {ours}:
        store.blobs.remove(mark)
    return _count_known(sessions, store)


def _own_mark(sessions: Sessions) -> str:
    with sessions() as session:
        session.execute(insert(Installation).values(id=1).on_conflict_do_nothing())
        session.commit()
        return f"{MARKS}/{session.scalars(select(Installation.name)).one()}"


def _marks(store: BlobStore) -> set[str]:
    return {file.name for file in store.blobs.all(under=MARKS) if not file.name.endswith(UNFINISHED)}


def _check_known(sessions: Sessions, store: BlobStore) -> None:
    """Half of them at the least, as two databases may have learned the same samples. Of its own it knows all but those
    of transactions that were undone.
    """
    stored, known = _count_known(sessions, store)
    if known * 2 < stored:
        raise NotOurs(f"{NOTHING_REMOVED}this database knows {known} of the {stored} files there are. {HOW_TO_ADOPT}")


def _count_known(sessions: Sessions, store: BlobStore) -> tuple[int, int]:
    stored = {digest for digest, _ in store.digests()}
    with sessions() as session:
        known = set(session.scalars(select(Blob.sha256)))
    return len(stored), len(stored & known)
