"""Requests that are answered when their job has ended: how many of one user's, and for how long somebody is there."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.deps import caller_by, known_caller
from app.jobs.stream import wait_until_ended
from app.state import State

MOST_WAITING = 20  # of one user in one web process: each takes a turn through a thread every few seconds
_waiting: defaultdict[UUID, set[Request]] = defaultdict(set)


@asynccontextmanager
async def place_to_wait(user_id: UUID, request: Request) -> AsyncIterator[bool]:
    """Whether this request of that user may wait: it then has a place while the block runs. In the loop's own thread
    only.
    """
    if len(_waiting[user_id]) >= MOST_WAITING:
        # Their waits end with their next look. Whoever lost the line sends again sooner than that.
        gone = [one for one in tuple(_waiting[user_id]) if await one.is_disconnected()]
        _waiting[user_id].difference_update(gone)
    has_place = len(_waiting[user_id]) < MOST_WAITING
    if has_place:
        _waiting[user_id].add(request)
    try:
        yield has_place
    finally:
        _waiting[user_id].discard(request)
        if not _waiting[user_id]:
            del _waiting[user_id]


async def wait_for(state: State, request: Request, job_id: UUID, seconds: float) -> None:
    """Until the job has ended, that time is over, or the server begins to stop.

    ClientDisconnect when whoever asked is gone; Unauthorized when they were put out meanwhile.
    """

    async def goes_on() -> bool:
        return not state.stopping.is_set() and not await request.is_disconnected()

    await wait_until_ended(state, job_id, seconds, lambda session: caller_by(request, session) is not None, goes_on)
    if await request.is_disconnected():
        raise ClientDisconnect
    await run_in_threadpool(_check_known, state, request)


def _check_known(state: State, request: Request) -> None:
    with state.readers() as session:
        known_caller(request, session)
