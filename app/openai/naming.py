"""Which history, and which version of it, a client means by a model's name."""

import re
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.histories.service import list_histories
from app.jobs.models import Job

THEIR_OWN = re.compile(r"(gpt-image|chatgpt-image|dall-e)\b", re.IGNORECASE)
"""Models of OpenAI's that some clients name whatever they were told."""
_WITH_VERSION = re.compile(r"(?P<name>.+)@(?:v?(?P<number>\d{1,9})|latest)", re.DOTALL)


def find_model(session: Session, owner_id: UUID, model: str | None) -> tuple[UUID, int | None]:
    """The history, and the number of the version; None for the one in use.

    model: a history's name or id; with "@v7", or "@7", at that version, with "@latest" at the one in use. None, or one
    of OpenAI's own names where no history is called so, is the history that its owner used last. NotFound for any
    other, with those that there are.
    """
    if model is None:
        return _used_last(session, owner_id), None
    histories = list_histories(session, owner_id)
    known = {key: one.id for one in histories for key in (str(one.id), one.name)}
    if model in known:
        return known[model], None
    found = _WITH_VERSION.fullmatch(model)
    if found and found["name"] in known:
        return known[found["name"]], None if found["number"] is None else int(found["number"])
    if THEIR_OWN.match(model):
        return _used_last(session, owner_id), None
    names = ", ".join(one.name for one in histories) or "none yet"
    raise NotFound(f"There is no model of that name. A model is one of your histories: {names}.", field="model")


def _used_last(session: Session, owner_id: UUID) -> UUID:
    """The history of the newest job; without any, the newest history."""
    used = session.scalar(select(Job.history_id).where(Job.owner_id == owner_id).order_by(Job.sequence.desc()).limit(1))
    if used is not None:
        return used
    histories = list_histories(session, owner_id)
    if not histories:
        raise NotFound("There is no history yet, and a model is one. Begin one on the pages, or over REST.", "model")
    return histories[-1].id
