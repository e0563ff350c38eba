"""Users who ask for things: rows and blobs as the web process writes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from uuid import UUID

from PIL import Image as PillowImage
from sqlalchemy import select

from app.accounts.models import User
from app.blobs import keep
from app.concepts.models import Concept, ConceptPicture
from app.db import Sessions
from app.generations.models import Generation, Image
from app.histories.models import BaseModelRow, History, Version
from app.jobs.models import Job, JobEvent, JobKind, JobSample
from app.storage import BlobStore, blob_name
from cns.recipe import read_recipe
from tests.tiny import PICTURE_PX
from tests.tiny_clip import random_pictures

QUICK: dict[str, Any] = {"steps": 8, "batch": 2, "selection": {"general_prompts": 4}}
"""Settings of a learning that tests can wait for."""


def png_of(picture: PillowImage.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class World:
    sessions: Sessions
    store: BlobStore
    base_id: str
    users: dict[str, UUID] = field(default_factory=dict)

    def user(self, name: str) -> UUID:
        if name not in self.users:
            with self.sessions.begin() as session:
                made = User(name=name, password_hash="-")  # noqa: S106 - nobody logs in
                session.add(made)
                session.flush()
                self.users[name] = made.id
        return self.users[name]

    def base(self) -> None:
        """The row of the base, where no worker has reported it yet."""
        with self.sessions.begin() as session:
            session.merge(BaseModelRow(id=self.base_id, source="tiny", facts={"name": "tiny"}))

    def history(self, owner: str = "ada", name: str = "pets", base_id: str | None = None) -> UUID:
        with self.sessions.begin() as session:
            made = History(owner_id=self.user(owner), name=name, base_id=base_id or self.base_id)
            session.add(made)
            session.flush()
            return made.id

    def learning(
        self,
        history_id: UUID,
        name: str = "rex",
        noun: str = "dog",
        pictures: Sequence[PillowImage.Image] | None = None,
        captions: Sequence[str | None] = (),
        **settings: Any,
    ) -> UUID:
        """A queued learning; returns its job's id."""
        pictures = random_pictures(3, seed=len(name)) if pictures is None else pictures
        with self.sessions.begin() as session:
            concept = Concept(history_id=history_id, name=name, class_noun=noun)
            session.add(concept)
            session.flush()
            for place, picture in enumerate(pictures):
                digest = keep(session, self.store, png_of(picture), "image/png")
                session.add(
                    ConceptPicture(
                        concept_id=concept.id,
                        position=place,
                        blob_sha256=digest,
                        file_name=f"{place}.png",
                        width_px=picture.width,
                        height_px=picture.height,
                        caption=captions[place] if captions else None,
                    )
                )
            history = session.get_one(History, history_id)
            job = Job(
                owner_id=history.owner_id,
                history_id=history_id,
                kind=JobKind.LEARN.value,
                concept_id=concept.id,
                settings={**QUICK, **settings},
            )
            session.add(job)
            session.flush()
            return job.id

    def generation(
        self, history_id: UUID, prompt: str, *, version: int = 0, steps: int = 4, side: int = PICTURE_PX, **facts: Any
    ) -> UUID:
        """A queued generation; returns its job's id."""
        with self.sessions.begin() as session:
            history = session.get_one(History, history_id)
            job = Job(owner_id=history.owner_id, history_id=history_id, kind=JobKind.GENERATE.value)
            session.add(job)
            session.flush()
            asked: dict[str, Any] = {"seed": 7, "count": 1, "guidance": 4.0, "sampler": "ddim", **facts}
            session.add(
                Generation(
                    history_id=history_id,
                    job_id=job.id,
                    version_id=self.version(history_id, version).id if version else None,
                    prompt=prompt,
                    steps=steps,
                    width_px=side,
                    height_px=side,
                    **asked,
                )
            )
            return job.id

    def spoil(self, digest: str) -> None:
        """The disk has lost the bytes of that file, but not its name."""
        self.store.blobs.path(blob_name(digest)).write_bytes(b"rubbish")

    # --- looking -------------------------------------------------------------------------------------------------

    def job(self, job_id: UUID) -> Job:
        with self.sessions() as session:
            return session.get_one(Job, job_id)

    def version(self, history_id: UUID, number: int) -> Version:
        with self.sessions() as session:
            return session.scalars(
                select(Version).where(Version.history_id == history_id, Version.number == number)
            ).one()

    def versions(self, history_id: UUID) -> list[Version]:
        with self.sessions() as session:
            asked = select(Version).where(Version.history_id == history_id).order_by(Version.number)
            return list(session.scalars(asked))

    def head(self, history_id: UUID) -> int:
        """The number of the version that a history stands on."""
        with self.sessions() as session:
            head = session.get_one(History, history_id).head_id
            return 0 if head is None else session.get_one(Version, head).number

    def move_head(self, history_id: UUID, number: int) -> None:
        to = self.version(history_id, number).id if number else None
        with self.sessions.begin() as session:
            session.get_one(History, history_id).head_id = to

    def pngs(self, job_id: UUID) -> list[bytes]:
        """The pictures of a generation, as files."""
        with self.sessions() as session:
            asked = select(Image.blob_sha256).join(Generation).where(Generation.job_id == job_id)
            return [self.store.get(digest) for digest in session.scalars(asked.order_by(Image.position))]

    def pictures(self, job_id: UUID) -> list[PillowImage.Image]:
        return [PillowImage.open(BytesIO(png)) for png in self.pngs(job_id)]

    def recipes(self, job_id: UUID) -> list[dict[str, Any]]:
        return [read_recipe(picture) or {} for picture in self.pictures(job_id)]

    def events(self, job_id: UUID, kind: str | None = None) -> list[dict[str, Any]]:
        with self.sessions() as session:
            asked = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)
            return [event.data for event in session.scalars(asked) if kind in (None, event.kind)]

    def samples(self, job_id: UUID) -> dict[int, bytes]:
        with self.sessions() as session:
            rows = session.scalars(select(JobSample).where(JobSample.job_id == job_id).order_by(JobSample.step))
            return {row.step: self.store.get(row.blob_sha256) for row in rows}
