"""The events of a job as they happen. What is kept has an id and is never missed; what is fleeting has none.

PostgreSQL is asked for what is kept, whenever Redis says there is more, and every few seconds in case it says nothing.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from uuid import UUID

import redis.asyncio
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from app.jobs.channel import channel_of
from app.jobs.models import OPEN, Job, JobEvent
from app.jobs.service import events_after
from app.state import State

ASK_EVERY_S = 2.0
ALIVE_EVERY_S = 15.0


async def follow(
    state: State, job_id: UUID, after: int
) -> AsyncGenerator[tuple[str, dict[str, object], int | None] | None, None]:
    """(kind, data, id) of each event after `after`, until the job has ended; None now and then to say: still there.

    id: None for what is not kept (progress finer than a second, previews).
    """
    told_at = time.monotonic()
    async with _Channel(state, job_id) as channel:
        while True:
            events, is_open = await run_in_threadpool(_look, state, job_id, after)
            for event in events:
                after, told_at = event.id, time.monotonic()
                yield event.kind, {**event.data, "at": event.at.isoformat()}, event.id
            if events:
                continue  # there may be more of them than one look takes in
            if not is_open:
                return
            deadline = time.monotonic() + ASK_EVERY_S
            while (left := deadline - time.monotonic()) > 0:
                message = await channel.next(left)
                if message is None:
                    break
                if message.get("kind") == "wake":
                    break
                told_at = time.monotonic()
                yield str(message.pop("kind")), message, None
            if time.monotonic() - told_at > ALIVE_EVERY_S:
                told_at = time.monotonic()
                yield None


async def wait_until_ended(state: State, job_id: UUID, seconds: float) -> None:
    """Until the job has ended, or that time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), contextlib.aclosing(follow(state, job_id, 0)) as events:
            async for _ in events:
                pass


def _look(state: State, job_id: UUID, after: int) -> tuple[list[JobEvent], bool]:
    """New events, and whether there may be more. Asked in that order, an ended job's last event is always seen."""
    with state.sessions() as session:
        job = session.get(Job, job_id)
        is_open = job is not None and job.state in [one.value for one in OPEN]
        return list(events_after(session, job_id, after)), is_open


class _Channel:
    """Messages of one job over Redis. Without Redis it is silent, and the database is asked on time all the same."""

    def __init__(self, state: State, job_id: UUID):
        self.name = channel_of(job_id)
        self.client = redis.asyncio.Redis.from_url(state.settings.redis_url, socket_connect_timeout=2)
        self.subscription = self.client.pubsub(ignore_subscribe_messages=True)
        self.is_up = False

    async def __aenter__(self) -> "_Channel":
        with contextlib.suppress(RedisError, OSError):
            await self.subscription.subscribe(self.name)
            self.is_up = True
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self.subscription.aclose()
        await self.client.aclose()

    async def next(self, wait_s: float) -> dict[str, object] | None:
        """The next message, or None when there was none in time."""
        if self.is_up:
            try:
                message = await self.subscription.get_message(timeout=wait_s)
            except (RedisError, OSError):
                self.is_up = False
            else:
                return _read(message["data"]) if message else None
        await asyncio.sleep(wait_s)
        return None


def _read(data: bytes) -> dict[str, object]:
    """A message as it was published; one that is none of ours wakes, which does no harm."""
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    return message if isinstance(message, dict) and "kind" in message else {"kind": "wake"}
