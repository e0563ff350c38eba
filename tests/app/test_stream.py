"""Those who follow jobs may leave at any moment, and take nothing with them."""

import asyncio
import contextlib
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from uuid import uuid4

import redis
from fastapi.testclient import TestClient

from app.jobs.stream import follow
from app.state import State


def test_who_leaves_while_the_channel_opens_leaves_no_connection_behind(client: TestClient, redis_url: str) -> None:
    state = cast(State, client.app.state.palimpsest)  # type: ignore[attr-defined]
    broker = redis.Redis.from_url(redis_url)
    before = len(broker.client_list())

    async def leave_as_soon_as_connected() -> None:
        listening = asyncio.ensure_future(anext(follow(state, {uuid4(): 0})))
        while len(broker.client_list()) == before:
            await asyncio.sleep(0)
        while not listening.done():  # as a server does that cancels a scope: again at each wait
            listening.cancel()
            await asyncio.sleep(0)
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        async with asyncio.timeout(10):
            while len(broker.client_list()) > before:
                await asyncio.sleep(0)

    gc.disable()  # what only the collector would close is left behind
    try:
        with ThreadPoolExecutor(1) as thread:  # the browser's tests may have a loop on this one
            thread.submit(lambda: asyncio.run(leave_as_soon_as_connected())).result()
    finally:
        gc.enable()
    assert len(broker.client_list()) == before
    broker.close()
