"""Those who follow jobs may leave at any moment, and take nothing with them."""

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from uuid import uuid4

import redis
from fastapi.testclient import TestClient

from app.jobs.channel import channel_of
from app.jobs.stream import follow
from app.state import State


def test_who_is_cancelled_again_while_leaving_leaves_no_connection_behind(client: TestClient, redis_url: str) -> None:
    state = cast(State, client.app.state.palimpsest)  # type: ignore[attr-defined]
    broker = redis.Redis.from_url(redis_url)
    job_id = uuid4()

    def listeners() -> int:
        return int(broker.pubsub_numsub(channel_of(job_id))[0][1])

    async def leave() -> None:
        listening = asyncio.ensure_future(anext(follow(state, {job_id: 0})))
        async with asyncio.timeout(10):
            while not listeners():
                await asyncio.sleep(0)
            while not listening.done():  # as a server does that cancels a scope: again at each wait
                listening.cancel()
                await asyncio.sleep(0)
            while listeners():
                await asyncio.sleep(0)

    gc.disable()  # what only the collector would close is left behind
    try:
        with ThreadPoolExecutor(1) as thread:  # the browser's tests may have a loop on this one
            thread.submit(lambda: asyncio.run(leave())).result()
    finally:
        gc.enable()
    broker.close()
