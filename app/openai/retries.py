"""What a client sends again by itself, when the line broke or its patience ended, is a request that it sent before."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.generations.models import Generation
from app.generations.reading import list_generations
from app.openai.schemas import PicturesAsked

WITHIN = timedelta(minutes=15)
LOOKED_AT = 50
"""Of the history's latest requests."""


def find_same(
    session: Session, history_id: UUID, version_number: int | None, asked: PicturesAsked
) -> tuple[UUID, UUID] | None:
    """The newest request that may be the one that is sent again: its id and its job's. What was left to us, such as the
    seed, is not compared.
    """
    since = datetime.now(UTC) - WITHIN
    for made, job, number in list_generations(session, history_id, LOOKED_AT):
        if made.created_at > since and version_number in (None, number) and _is_same(made, asked):
            return made.id, job.id
    return None


def _is_same(made: Generation, asked: PicturesAsked) -> bool:
    width, height = asked.size_px()
    pairs = (
        (made.prompt, asked.prompt.strip()),
        (made.negative_prompt, (asked.negative_prompt or "").strip()),
        (made.count, asked.count),
        (made.width_px, width),
        (made.height_px, height),
        (made.seed, asked.seed),
        (made.steps, asked.steps),
        (made.guidance, asked.guidance_scale),
        (made.sampler, asked.sampler),
    )
    return not made.regions and all(wanted in (None, stored) for stored, wanted in pairs)
