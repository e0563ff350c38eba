"""What is worth knowing about pictures before a concept is taught from them. Nothing here refuses anything."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.concepts.models import Concept, ConceptPicture, Upload
from app.histories.models import History
from app.pictures import SMALL_SIDE_PX

FEW, MANY = 3, 12


def remarks_on(session: Session, owner_id: UUID, uploads: Sequence[Upload]) -> Mapping[UUID, list[str]]:
    """Upload -> sentences about it: small, blurred, there twice, or another concept's already."""
    elsewhere = _other_concepts(session, owner_id, {upload.blob_sha256 for upload in uploads})
    first: dict[str, str] = {}
    said: dict[UUID, list[str]] = {}
    for upload in uploads:
        mine = said[upload.id] = []
        if min(upload.width_px, upload.height_px) < SMALL_SIDE_PX:
            mine.append(f"Small: {upload.width_px} × {upload.height_px} pixels. Little can be learned from it.")
        if upload.is_blurred:
            mine.append("Blurred: what is not sharp here is learned as not sharp.")
        if upload.blob_sha256 in first:
            mine.append(f"The same picture as {first[upload.blob_sha256]}; it teaches nothing more.")
        if upload.blob_sha256 in elsewhere:
            mine.append(f"<{elsewhere[upload.blob_sha256]}> was taught from this picture too.")
        first.setdefault(upload.blob_sha256, upload.file_name)
    return said


def remarks_on_all(count: int) -> str:
    """A sentence about how many there are, or nothing."""
    if 0 < count < FEW:
        return "Few pictures: with 3 to 10, the concept is told from its background better."
    if count > MANY:
        return "Many pictures: beyond a dozen, each one is seen less often. Choose the clearest, or take more steps."
    return ""


def _other_concepts(session: Session, owner_id: UUID, digests: Iterable[str]) -> dict[str, str]:
    """Digest of a picture -> a concept of the same owner that was taught from it."""
    rows = session.execute(
        select(ConceptPicture.blob_sha256, Concept.name)
        .join(Concept, Concept.id == ConceptPicture.concept_id)
        .join(History, History.id == Concept.history_id)
        .where(History.owner_id == owner_id, ConceptPicture.blob_sha256.in_(digests))
    )
    return dict(rows.all())
