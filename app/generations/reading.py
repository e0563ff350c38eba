"""Generations, read: requests for pictures with their jobs, pictures, the gallery."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Integer, Text, bindparam, func, or_, select, tuple_
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.generations.models import Generation, Image
from app.histories.models import History, Version
from app.histories.versions import LARGEST_NUMBER
from app.jobs.models import Job
from app.jobs.service import LARGEST_SEQUENCE


class Picture(NamedTuple):
    """An image as lists show it: columns, as a row of ours takes three times as long to read."""

    id: UUID
    generation_id: UUID
    seed: int
    width_px: int
    height_px: int
    created_at: datetime


# Where columns are all that is read, statements are made of tables: of rows of ours, SQLAlchemy would look at each
# column again whenever it is asked.
_images, _asked = Image.__table__, Generation.__table__
_histories, _versions = History.__table__, Version.__table__
PICTURE = tuple(_images.c[name] for name in Picture._fields)


class InGallery(NamedTuple):
    """A picture and what it was asked for with. version: its number, 0 for the bare base."""

    picture: Picture
    history_id: UUID
    prompt: str
    version: int


def generation_of(session: Session, job_id: UUID) -> Generation:
    return session.scalars(select(Generation).where(Generation.job_id == job_id)).one()


# A request for pictures, its job, and the number of its version, 0 for the bare base.
_WITH_JOB = (
    select(Generation, Job, func.coalesce(Version.number, 0))
    .join(Job, Job.id == Generation.job_id)
    .outerjoin(Version, Version.id == Generation.version_id)
)


def get_generation(session: Session, owner_id: UUID, generation_id: UUID) -> tuple[Generation, Job, int]:
    """With its job and the number of its version. NotFound when it is not there or somebody else's."""
    of_owner = _WITH_JOB.join(History, History.id == Generation.history_id).where(History.owner_id == owner_id)
    row = session.execute(of_owner.where(Generation.id == generation_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such generation.")
    return row


def get_waited_for(session: Session, owner_id: UUID, generation_id: UUID) -> tuple[Generation, Job, int]:
    """The same of one that its owner has asked for and waited for since: it is not there when its history is not."""
    try:
        return get_generation(session, owner_id, generation_id)
    except NotFound:
        raise NotFound("The history of these pictures was deleted while they were waited for.") from None


_IMAGES = (
    select(*PICTURE)
    .where(_images.c.generation_id.in_(bindparam("ids", expanding=True)))
    .order_by(_images.c.generation_id, _images.c.position)
)


def images_of(session: Session, generation_ids: Sequence[UUID]) -> list[Picture]:
    """In their order, those of one request after those of another."""
    rows = session.execute(_IMAGES, {"ids": generation_ids}).all() if generation_ids else ()
    return [Picture(*row) for row in rows]


def get_image(session: Session, owner_id: UUID, image_id: UUID) -> Image:
    """NotFound when it is not there or somebody else's."""
    return get_image_asked(session, owner_id, image_id)[0]


_ASKED = (
    select(Image, Generation, func.coalesce(Version.number, 0))
    .join(Generation, Generation.id == Image.generation_id)
    .join(History, History.id == Generation.history_id)
    .outerjoin(Version, Version.id == Generation.version_id)
    .where(Image.id == bindparam("image_id"), History.owner_id == bindparam("owner_id"))
)


def get_image_asked(session: Session, owner_id: UUID, image_id: UUID) -> tuple[Image, Generation, int]:
    """A picture, what it was asked for with, and the number of its version. NotFound as above."""
    row = session.execute(_ASKED, {"image_id": image_id, "owner_id": owner_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such picture.")
    return row


_FILE = (
    select(_images.c.blob_sha256)
    .join(_asked, _asked.c.id == _images.c.generation_id)
    .join(_histories, _histories.c.id == _asked.c.history_id)
    .where(_images.c.id == bindparam("image_id"), _histories.c.owner_id == bindparam("owner_id"))
)


def file_of_image(session: Session, owner_id: UUID, image_id: UUID) -> str:
    """The digest of its file, and nothing else: a page of pictures asks for dozens. NotFound as above."""
    digest = session.scalar(_FILE, {"image_id": image_id, "owner_id": owner_id})
    if digest is None:
        raise NotFound("There is no such picture.")
    return digest


@dataclass(frozen=True)
class Latest:
    """Pictures of a history: how many there are, and the latest of them, the newest first."""

    count: int
    latest: Sequence[Picture]


_newest_first = (_images.c.created_at.desc(), _images.c.id.desc())
_ranked = (
    select(
        _images.c.id,
        _asked.c.history_id,
        func.row_number().over(partition_by=_asked.c.history_id, order_by=_newest_first).label("place"),
        func.count().over(partition_by=_asked.c.history_id).label("count"),
    )
    .join_from(_images, _asked, _asked.c.id == _images.c.generation_id)
    .join(_histories, _histories.c.id == _asked.c.history_id)
    .where(_histories.c.owner_id == bindparam("owner_id"))
    .subquery()
)
_LATEST = (
    select(_ranked.c.history_id, _ranked.c.count, *PICTURE)
    .join_from(_ranked, _images, _images.c.id == _ranked.c.id)
    .where(_ranked.c.place <= bindparam("most"))
    .order_by(_ranked.c.history_id, _ranked.c.place)
)


def latest_images(session: Session, owner_id: UUID, limit: int) -> dict[UUID, Latest]:
    """History -> its latest pictures, of all histories of the owner that have any."""
    rows = session.execute(_LATEST, {"owner_id": owner_id, "most": limit}).all()
    found: dict[UUID, tuple[int, list[Picture]]] = {}
    for history_id, count, *columns in rows:
        found.setdefault(history_id, (count, []))[1].append(Picture(*columns))
    return {history_id: Latest(*of_it) for history_id, of_it in found.items()}


def list_images(
    session: Session,
    owner_id: UUID,
    limit: int,
    *,
    history_id: UUID | None = None,
    version_number: int | None = None,
    concept: str | None = None,
    after: tuple[datetime, UUID] | None = None,
) -> list[InGallery]:
    """The gallery, the latest first. after: (created_at, id) of the last one seen."""
    asked = (
        select(*PICTURE, _asked.c.history_id, _asked.c.prompt, func.coalesce(_versions.c.number, 0))
        .join_from(_images, _asked, _asked.c.id == _images.c.generation_id)
        .join(_histories, _histories.c.id == _asked.c.history_id)
        .outerjoin(_versions, _versions.c.id == _asked.c.version_id)
        .where(_histories.c.owner_id == owner_id)
    )
    if history_id is not None:
        asked = asked.where(_asked.c.history_id == history_id)
    if version_number == 0:
        asked = asked.where(_asked.c.version_id.is_(None))
    elif version_number is not None:
        asked = asked.where(_versions.c.number == min(version_number, LARGEST_NUMBER))
    if concept is not None:
        token = f"<{concept}>"
        in_a_region = _asked.c.regions.cast(Text).contains(token, autoescape=True)
        asked = asked.where(or_(_asked.c.prompt.contains(token, autoescape=True), in_a_region))
    if after is not None:
        asked = asked.where(tuple_(_images.c.created_at, _images.c.id) < tuple_(*after))
    asked = asked.order_by(*_newest_first).limit(limit)
    return [
        InGallery(Picture(*columns), of_history, prompt, number)
        for *columns, of_history, prompt, number in session.execute(asked).all()  # at once: one by one takes longer
    ]


_OF_HISTORY = (
    _WITH_JOB.where(Generation.history_id == bindparam("history_id"))
    .order_by(Job.sequence.desc())
    .limit(bindparam("most", type_=Integer))
)
_BEFORE = _OF_HISTORY.where(Job.sequence < bindparam("before"))


def list_generations(
    session: Session, history_id: UUID, limit: int, before: int | None = None
) -> Sequence[tuple[Generation, Job, int]]:
    """Of one history, the latest first, each with its job and the number of its version. before: the job's sequence."""
    asked = {"history_id": history_id, "most": limit}
    if before is None:
        return list(session.execute(_OF_HISTORY, asked).all())
    return list(session.execute(_BEFORE, {**asked, "before": min(before, LARGEST_SEQUENCE)}).all())
