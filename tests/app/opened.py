"""A request that is open until it ends or is left. A test client would read all of its answer before it gives any."""

import asyncio
import json
from collections.abc import Coroutine, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Opened:
    """It is asked as soon as it is made. sent: what goes as JSON, with a POST. headers, said: the answer so far."""

    def __init__(self, app: Any, path: str, headers: dict[str, str], sent: Any = None):
        self._left = asyncio.Event()
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        body = b"" if sent is None else json.dumps(sent).encode()
        self._asked = iter([{"type": "http.request", "body": body, "more_body": False}])
        self.said, self.headers = b"", dict[str, str]()
        if sent is not None:
            headers = {**headers, "content-type": "application/json", "content-length": str(len(body))}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET" if sent is None else "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "server": ("testserver", 80),
            "client": ("testclient", 1),
        }
        self.ended = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        for message in self._asked:
            return message
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._status.set_result(message["status"])
        else:
            self.said += message.get("body", b"")

    async def status(self) -> int:
        async with asyncio.timeout(30):
            return await self._status

    async def answer(self) -> Any:
        """What it says when it has ended, as JSON."""
        async with asyncio.timeout(30):
            await self.ended
        return json.loads(self.said)

    async def leave(self) -> None:
        """The line is gone; returns when the server has seen it."""
        self.lose()
        async with asyncio.timeout(30):
            await self.ended

    def lose(self) -> None:
        """The line is gone, and the server may not have seen it yet."""
        self._left.set()


def in_a_loop_of_its_own(work: Coroutine[Any, Any, None]) -> None:
    """The browser's tests may have one on this thread."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(work)).result()
