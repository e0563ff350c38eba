"""What a client sends again by itself, when the line broke or its patience ended, is a request that it sent before.

A request without an `Idempotency-Key` is given one here, which is forgotten as its answer leaves. So the keys of ours
that there are belong to requests whose client has no answer yet; one that is sent again is given the key of such a one,
unless somebody waits for that answer already.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

from fastapi import Request
from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.db import UnitOfWork
from app.idempotency import IdempotencyKey, Once, once_by
from app.jobs.models import OPEN, Job, JobState
from app.openai.schemas import PicturesAsked
from app.state import State

OURS = " unanswered "  # no client's begins with a space: around a header's value they mean nothing
OPEN_FOR = timedelta(hours=1)
"""A client gives up after three times ten minutes."""
ENDED_FOR = timedelta(minutes=15)
_waited_for: dict[str, Request] = {}  # key of ours -> who waits for the answer, in this web process


@asynccontextmanager
async def key_for(
    state: State, request: Request, user_id: UUID, asked: PicturesAsked, key: str | None, is_sent_again: bool
) -> AsyncIterator[Once]:
    """What a request starts nothing twice by, while the block runs: the key that it came with, else one of ours."""
    once = once_by(user_id, f"{OURS}{uuid4()}" if key is None else key, "openai", asked.model_dump())
    if key is not None:
        yield once
        return
    if is_sent_again:
        for one in await run_in_threadpool(_unanswered, state, once):
            if await _is_free(one):
                once = replace(once, key=one)
                break
    _waited_for[once.key] = request
    try:
        yield once
    finally:
        if _waited_for.get(once.key) is request:  # whoever lost the line may still be on the way out
            del _waited_for[once.key]


async def _is_free(key: str) -> bool:
    who = _waited_for.get(key)
    return who is None or await who.is_disconnected()


def _unanswered(state: State, once: Once) -> list[str]:
    """Keys of the same request whose pictures are made, or are there since a short while; the newest first."""
    is_on_the_way = and_(Job.state.in_(OPEN), Job.created_at > func.now() - OPEN_FOR)
    is_there = and_(Job.state == JobState.DONE, Job.finished_at > func.now() - ENDED_FOR)
    found = (
        select(IdempotencyKey.key)
        .join(Job, Job.id == IdempotencyKey.job_id)
        .where(
            IdempotencyKey.user_id == once.user_id,
            IdempotencyKey.key.startswith(OURS, autoescape=True),
            IdempotencyKey.request_sha256 == once.request_sha256,
            or_(is_on_the_way, is_there),
        )
        .order_by(Job.sequence.desc())
    )
    with state.readers() as session:
        return list(session.scalars(found))


def hand_out(uow: UnitOfWork, once: Once) -> bool:
    """Note that the answer leaves; whether it may. By a key of ours it leaves once, whichever process it comes from."""
    if not once.key.startswith(OURS):
        return True
    with uow:
        is_first = _forget(uow.session, once)
        uow.commit()
    return is_first


def _forget(session: Session, once: Once) -> bool:
    mine = (IdempotencyKey.user_id == once.user_id, IdempotencyKey.key == once.key)
    return session.scalar(delete(IdempotencyKey).where(*mine).returning(IdempotencyKey.key)) is not None
