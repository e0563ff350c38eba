"""An answer that many ask for at the same time is worked out once, in one thread, and kept for a moment."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

T = TypeVar("T")


class SharedAnswer(Generic[T]):
    """keep_s: how long it is good enough for whoever asks next. All ask in one loop, and wait without a thread."""

    def __init__(self, keep_s: float):
        self._keep_s = keep_s
        self._answer: asyncio.Task[T] | None = None
        self._good_until = 0.0

    async def get(self, work: Callable[[], T]) -> T:
        if self._answer is None or (self._answer.done() and time.monotonic() >= self._good_until):
            self._answer = asyncio.create_task(self._work_out(work))
        return await asyncio.shield(self._answer)  # whoever leaves does not take it from the others

    async def _work_out(self, work: Callable[[], T]) -> T:
        try:
            return await run_in_threadpool(work)
        finally:
            self._good_until = time.monotonic() + self._keep_s
