"""Who has pictures decoded now, and who waits for it.

A picture can take a second and hundreds of megabytes, so few are decoded at a time (`pictures.py`). Whoever waited for
that in a thread would keep it from everybody else's requests, and there are forty of them. So requests that bring
pictures wait here, in the event loop, and have a thread when it is their turn.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from app.errors import Busy, TooMany

MOST_IN_THREADS = 8
OWN_IN_THREADS = 2  # as many as are decoded at a time, so that nobody waits where nobody else is
OWN_MOST = 20  # a browser sends one after another; a program may send all pictures of a concept at once
MOST = 100  # their files lie on the disk meanwhile
COME_AGAIN_S = 10


class Decoding:
    """The requests of one web process that bring pictures. Used by its event loop alone."""

    def __init__(self) -> None:
        self._in_threads: Counter[UUID] = Counter()
        self._waiting: list[tuple[UUID, asyncio.Future[None]]] = []  # in the order in which they came

    @asynccontextmanager
    async def place(self, owner_id: UUID) -> AsyncIterator[None]:
        """Wait for a place, and have it. TooMany and Busy when there are too many before this one already."""
        self._refuse_too_many(owner_id)
        await self._wait(owner_id)
        try:
            yield
        finally:
            self._leave(owner_id)

    def _refuse_too_many(self, owner_id: UUID) -> None:
        own = self._in_threads[owner_id] + sum(owner == owner_id for owner, _ in self._waiting)
        if own >= OWN_MOST:
            raise TooMany(
                f"Pictures of {own} of your requests are being looked at already. Try again in {COME_AGAIN_S} seconds.",
                COME_AGAIN_S,
            )
        if self._in_threads.total() + len(self._waiting) >= MOST:
            raise Busy(
                f"More pictures were sent than the server can look at. Try again in {COME_AGAIN_S} seconds.",
                COME_AGAIN_S,
            )

    async def _wait(self, owner_id: UUID) -> None:
        mine = (owner_id, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        self._let_in()
        try:
            await mine[1]
        except asyncio.CancelledError:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:  # it was let in at the same moment
                self._leave(owner_id)
            raise

    def _let_in(self) -> None:
        """Whoever has the fewest places comes first, so that nobody has to wait for all that another has sent."""
        while self._waiting and self._in_threads.total() < MOST_IN_THREADS:
            following = min(self._waiting, key=lambda one: self._in_threads[one[0]])
            owner_id, turn = following
            if self._in_threads[owner_id] >= OWN_IN_THREADS:
                return
            self._waiting.remove(following)
            self._in_threads[owner_id] += 1
            turn.set_result(None)

    def _leave(self, owner_id: UUID) -> None:
        self._in_threads[owner_id] -= 1
        if not self._in_threads[owner_id]:
            del self._in_threads[owner_id]
        self._let_in()
