"""What one web process works with: made once at its start, closed at its end."""

import asyncio
from dataclasses import dataclass

import redis
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import Engine

from app.config import Settings
from app.db import Send, Sessions, UnitOfWork
from app.decoding import Decoding
from app.jobs.channel import wake
from app.logs import log
from app.shared_answer import SharedAnswer
from app.storage import BlobStore


@dataclass(frozen=True)
class State:
    """sessions: to write with. readers: to read with, over the connections of `reading`. send: rings the worker.
    limiter: counts requests in Redis. decoding: lets those that bring pictures in, one after another. sweeping: held
    while files are removed. readiness: "ok" or not of each part, as it was a moment ago. stopping: set when the process
    begins to stop.
    """

    settings: Settings
    sessions: Sessions
    readers: Sessions
    reading: Engine
    store: BlobStore
    redis: redis.Redis
    send: Send
    limiter: MovingWindowRateLimiter
    decoding: Decoding
    sweeping: asyncio.Lock
    readiness: SharedAnswer[dict[str, str]]
    stopping: asyncio.Event

    def unit_of_work(self) -> UnitOfWork:
        """One transaction. A lost message is logged and no more: the sweep rings again."""
        return UnitOfWork(
            self.sessions,
            self._ring,
            lambda task, kwargs, error: log.warning("not_rung", task=task, error=type(error).__name__, **kwargs),
            lambda job_id: wake(self.redis, job_id),
        )

    def _ring(self, task: str, *, kwargs: dict[str, str], queue: str) -> None:
        """Ring the worker, and write down which request its job came of."""
        self.send(task, kwargs=kwargs, queue=queue)
        log.info("rang", task=task, queue=queue, **kwargs)
