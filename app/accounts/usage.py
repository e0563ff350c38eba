"""What a user keeps here, and how much that may be."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, union
from sqlalchemy.orm import Session

from app.accounts.models import User
from app.blobs import Blob
from app.concepts.models import Concept, ConceptPicture, Upload
from app.errors import OverQuota
from app.generations.models import Generation, Image
from app.histories.models import History, Version
from app.jobs.models import OPEN, Job, JobSample
from app.words import in_bytes


@dataclass(frozen=True)
class Usage:
    """Counts, and the bytes of all that a user keeps. quota_bytes: how many they may be; None for no limit."""

    histories: int
    versions: int
    images: int
    open_jobs: int
    bytes: int
    quota_bytes: int | None


def usage_of(session: Session, user_id: UUID, default_quota_bytes: int) -> Usage:
    histories = select(History.id).where(History.owner_id == user_id)

    def count(rows: type, of: object) -> int:
        return session.scalar(select(func.count()).select_from(rows).where(of)) or 0  # type: ignore[arg-type]

    own_generations = select(Generation.id).where(Generation.history_id.in_(histories))
    return Usage(
        histories=count(History, History.owner_id == user_id),
        versions=count(Version, Version.history_id.in_(histories)),
        images=count(Image, Image.generation_id.in_(own_generations)),
        open_jobs=count(Job, (Job.owner_id == user_id) & Job.state.in_([state.value for state in OPEN])),
        bytes=bytes_of(session, user_id),
        quota_bytes=quota_of(session, user_id, default_quota_bytes),
    )


# Who keeps what, each pair once. Blobs that two users happen to share count for both: nobody can learn from a number
# what others have.
_kept = union(
    select(History.owner_id, Version.delta_sha256).join(Version, Version.history_id == History.id),
    select(History.owner_id, Image.blob_sha256)
    .join(Generation, Generation.history_id == History.id)
    .join(Image, Image.generation_id == Generation.id),
    select(History.owner_id, ConceptPicture.blob_sha256)
    .join(Concept, Concept.history_id == History.id)
    .join(ConceptPicture, ConceptPicture.concept_id == Concept.id),
    select(Job.owner_id, JobSample.blob_sha256).join(JobSample, JobSample.job_id == Job.id),
    select(Upload.owner_id, Upload.blob_sha256),
).subquery()
_owner, _digest = _kept.c


def bytes_of(session: Session, user_id: UUID) -> int:
    """The bytes of the user's pictures and learned weights."""
    kept = select(func.sum(Blob.size_bytes)).join(_kept, _digest == Blob.sha256).where(_owner == user_id)
    return int(session.scalar(kept) or 0)


def bytes_of_everybody(session: Session) -> dict[UUID, int]:
    """By user; nobody who keeps nothing."""
    kept = select(_owner, func.sum(Blob.size_bytes)).join(_kept, _digest == Blob.sha256).group_by(_owner)
    return {owner: int(size) for owner, size in session.execute(kept)}


def quota_of(session: Session, user_id: UUID, default_bytes: int) -> int | None:
    """The user's own number, or everybody's; None where that is 0, which means no limit."""
    own = session.scalar(select(User.quota_bytes).where(User.id == user_id))
    return (default_bytes if own is None else own) or None


def check_room(session: Session, user_id: UUID, default_quota_bytes: int) -> None:
    """Raise OverQuota when the user keeps as much as they may. What they have stays usable, and can be deleted."""
    quota = quota_of(session, user_id, default_quota_bytes)
    if quota is None:
        return
    kept = bytes_of(session, user_id)
    if kept >= quota:
        raise OverQuota(
            f"You keep {in_bytes(kept)} of the {in_bytes(quota)} that you may keep. Delete pictures or a history, or "
            "ask an administrator for more."
        )
