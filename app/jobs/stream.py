"""The events of jobs as they happen. What is kept has an id and is never missed; what is fleeting has none.

PostgreSQL is asked for what is kept, whenever Redis says there is more, and every few seconds in case it says nothing.
"""

import asyncio
import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis.asyncio
from redis.exceptions import RedisError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.errors import TooMany
from app.jobs.channel import channel_of
from app.jobs.models import JobEvent
from app.jobs.service import events_after, open_among
from app.state import State

ASK_EVERY_S = 2.0
ALIVE_EVERY_S = 15.0
LOOK_AGAIN_EVERY_S = 15.0
MOST_OPEN = 20  # streams of one user in one web process: each takes a turn through a thread every few seconds
_closing: set[asyncio.Task[None]] = set()  # a loop keeps its tasks weakly
_open: Counter[UUID] = Counter()


@dataclass(frozen=True)
class Happened:
    """One event of one job. id: None for what is not kept (progress finer than a second, previews)."""

    job_id: UUID
    kind: str
    data: dict[str, Any]
    id: int | None


@contextlib.contextmanager
def place_of(user_id: UUID) -> Iterator[None]:
    """One more stream of that user while the block runs. TooMany when they have as many as they may. In the loop's own
    thread only.
    """
    if _open[user_id] >= MOST_OPEN:
        raise TooMany(f"You have {MOST_OPEN} streams of events open. Close one, or follow several jobs in one.")
    _open[user_id] += 1
    try:
        yield
    finally:
        _open[user_id] -= 1
        if not _open[user_id]:
            del _open[user_id]


async def _always() -> bool:
    return True


async def follow(
    state: State,
    told: Mapping[UUID, int],
    may_follow: Callable[[Session], bool] = lambda _: True,
    until: float = math.inf,
    goes_on: Callable[[], Awaitable[bool]] = _always,
) -> AsyncGenerator[Happened | None, None]:
    """What happens to these jobs until all of them have ended; None now and then to say: still there.

    told: job -> its newest event that is known already. Each job goes on after its own: events of two jobs may be
    committed in another order than they were numbered in. may_follow: asked again now and then; it ends when it says
    no. until: by the monotonic clock, when it ends in any case. goes_on: the same,
    asked every two seconds, or oftener.
    """
    position = dict(told)
    said_at = looked_at = time.monotonic()
    async with _Channels(state, list(position)) as channels:
        await channels.subscribe()
        while position and time.monotonic() < until and await goes_on():
            if time.monotonic() - looked_at > LOOK_AGAIN_EVERY_S:
                looked_at = time.monotonic()
                if not await run_in_threadpool(_ask, state, may_follow):
                    return
            events, still_open = await run_in_threadpool(_look, state, position)
            for event in events:
                position[event.job_id], said_at = event.id, time.monotonic()
                yield Happened(event.job_id, event.kind, {**event.data, "at": event.at.isoformat()}, event.id)
            if events:
                continue  # there may be more of them than one look takes in
            position = {job_id: newest for job_id, newest in position.items() if job_id in still_open}
            deadline = min(time.monotonic() + ASK_EVERY_S, until)
            while position and (left := deadline - time.monotonic()) > 0:
                message = await channels.next(left)
                if message is None or message.kind == "wake":
                    break
                said_at = time.monotonic()
                yield message
            if position and time.monotonic() - said_at > ALIVE_EVERY_S:
                said_at = time.monotonic()
                yield None


async def wait_until_ended(
    state: State,
    job_id: UUID,
    seconds: float,
    may_follow: Callable[[Session], bool] = lambda _: True,
    goes_on: Callable[[], Awaitable[bool]] = _always,
) -> None:
    """Until the job has ended, that time is over, or one of the two says no, as above.

    Nothing is cancelled when it is: a cancellation that reaches a connection to Redis while it is being opened can get
    lost there, and the wait would have no end.
    """
    until = time.monotonic() + seconds
    async with contextlib.aclosing(follow(state, {job_id: 0}, may_follow, until, goes_on)) as events:
        async for _ in events:
            pass


def _look(state: State, told: Mapping[UUID, int]) -> tuple[list[JobEvent], set[UUID]]:
    """New events, and the jobs of which there may be more. Asked in that order, a job's last event is always seen."""
    with state.readers() as session:
        still_open = open_among(session, list(told))
        return list(events_after(session, told)), still_open


def _ask(state: State, may_follow: Callable[[Session], bool]) -> bool:
    with state.readers() as session:
        return may_follow(session)


class _Channels:
    """Messages of some jobs over Redis. Without Redis they are silent, and the database is asked on time as well."""

    def __init__(self, state: State, job_ids: list[UUID]):
        self.job_of = {channel_of(job_id): job_id for job_id in job_ids}
        self.client = redis.asyncio.Redis.from_url(state.settings.redis_url, socket_connect_timeout=2)
        self.subscription = self.client.pubsub(ignore_subscribe_messages=True)
        self.is_up = False

    async def __aenter__(self) -> "_Channels":
        return self

    async def __aexit__(self, *_: object) -> None:
        # Whoever leaves is mostly being cancelled, at each further wait anew: closing is a task of its own.
        closing = asyncio.create_task(self._close())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)
        await asyncio.shield(closing)

    async def subscribe(self) -> None:
        """Within the block, not on entering it: so that it is closed also when its reader leaves meanwhile."""
        with contextlib.suppress(RedisError, OSError):
            await self.subscription.subscribe(*self.job_of)
            self.is_up = True

    async def _close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self.subscription.aclose()
        await self.client.aclose()

    async def next(self, wait_s: float) -> Happened | None:
        """The next message, or None when there was none in time."""
        if self.is_up:
            try:
                message = await self.subscription.get_message(timeout=wait_s)
            except (RedisError, OSError):
                self.is_up = False
            else:
                return _read(self.job_of[message["channel"].decode()], message["data"]) if message else None
        await asyncio.sleep(wait_s)
        return None


def _read(job_id: UUID, data: bytes) -> Happened:
    """A message as it was published; one that is none of ours wakes, which does no harm."""
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    if not isinstance(message, dict) or "kind" not in message:
        message = {"kind": "wake"}
    return Happened(job_id, str(message.pop("kind")), message, None)
