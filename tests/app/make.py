"""Rows that many tests begin with. Everything is written through the session it is given, and committed."""

import hashlib
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app import blobs
from app.accounts.models import User
from app.blobs import Blob
from app.concepts.models import Concept
from app.forgettings.models import Forgetting, Mode
from app.generations.models import Image
from app.histories.models import BaseModelRow, History, Version
from app.jobs.models import Job, JobKind
from app.storage import BlobStore

BASE_ID = "b" * 64
UNHASHED = "-"  # no hash at all, so nothing opens it
FACTS: dict[str, Any] = {
    "name": "a tiny base",
    "native_px": 64,
    "size_step_px": 8,
    "samplers": ["ddim", "euler", "dpm++", "unipc"],
    "sampler": "ddim",
    "steps": 20,
    "guidance": 4.0,
    "pixelated": True,
    "learning": {"steps": 200},
    "manners": {"drawing": ["a {} of ", ""], "style": ["a photo of ", " in a {}"]},
}


def user(session: Session, name: str = "ada", *, is_admin: bool = False) -> User:
    made = User(name=name, password_hash=UNHASHED, is_admin=is_admin)
    session.add(made)
    session.commit()
    return made


def base_model(session: Session, base_id: str = BASE_ID) -> BaseModelRow:
    found = session.get(BaseModelRow, base_id)
    if found is None:
        found = BaseModelRow(id=base_id, source="storybook", facts=FACTS)
        session.add(found)
        session.commit()
    return found


def history(session: Session, owner: User, name: str = "pets") -> History:
    base_model(session)
    made = History(owner_id=owner.id, base_id=BASE_ID, name=name)
    session.add(made)
    session.commit()
    return made


def concept(session: Session, of: History, name: str = "rex") -> Concept:
    made = Concept(history_id=of.id, name=name, class_noun="dog")
    session.add(made)
    session.commit()
    return made


def learning(session: Session, of: History, name: str = "rex") -> Job:
    made = Job(
        owner_id=of.owner_id, history_id=of.id, kind=JobKind.LEARN.value, concept_id=concept(session, of, name).id
    )
    session.add(made)
    session.commit()
    return made


def version(session: Session, of: History, number: int, name: str, parent: UUID | None = None) -> Version:
    """A version without bytes behind it; head does not move."""
    digest = hashlib.sha256(f"{of.id}{number}".encode()).hexdigest()
    session.add(Blob(sha256=digest, size_bytes=1, media_type="application/octet-stream"))
    learned = concept(session, of, name)
    made = Version(
        history_id=of.id,
        parent_id=parent,
        concept_id=learned.id,
        number=number,
        delta_sha256=digest,
        delta_bytes=1,
        report={"density": {"base": 0.1, "general": 0.2, "concept": 0.05}, "overlap": 0.0, "loss": []},
        seconds={"captions": 0, "selection": 0, "learning": 0, "diagnosis": 0},
        diagnosis=[],
        examination={},
    )
    session.add(made)
    session.commit()
    return made


def forgetting(session: Session, of: History, name: str, mode: Mode = Mode.FAST) -> Forgetting:
    """One that waits, of a concept that the history has learned."""
    job = Job(owner_id=of.owner_id, history_id=of.id, kind=JobKind.FORGET.value)
    session.add(job)
    session.flush()
    made = Forgetting(history_id=of.id, job_id=job.id, name=name, class_noun="dog", mode=mode.value, erase=False)
    session.add(made)
    session.commit()
    return made


def image(session: Session, store: BlobStore, generation_id: UUID, png: bytes, position: int = 0) -> Image:
    """A picture that a worker has made."""
    made = Image(
        generation_id=generation_id,
        position=position,
        seed=position,
        blob_sha256=blobs.keep(session, store, png, "image/png"),
        width_px=80,
        height_px=72,
    )
    session.add(made)
    session.commit()
    return made
