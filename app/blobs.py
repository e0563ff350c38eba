"""Which stored bytes are known. A row for each blob, so that what is referenced cannot be collected."""

import hashlib
from datetime import datetime

from sqlalchemy import BigInteger, String, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db import Base
from app.storage import BlobStore


class Blob(Base):
    """Bytes in the store, by their SHA-256."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(String(60))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


def keep(session: Session, store: BlobStore, data: bytes, media_type: str) -> str:
    """Store `data` and make its row in this transaction; returns its SHA-256.

    The row first: whoever collects blobs holds the row while the file goes, so this waits for them, and then finds that
    the file is not there.
    """
    digest = hashlib.sha256(data).hexdigest()
    made = insert(Blob).values(sha256=digest, size_bytes=len(data), media_type=media_type)
    session.execute(made.on_conflict_do_update(index_elements=[Blob.sha256], set_={"created_at": func.now()}))
    return store.put(data)
