"""How much a request may bring. Decided before anything of it is kept, and counted while it comes."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import MEGABYTE, Settings
from app.deps import SESSION_COOKIE
from app.problems import answer

STRANGERS_BYTES = 64_000
"""Whoever shows neither a cookie nor a key has nothing to send but a name and a password."""
FORM_BYTES = MEGABYTE
"""Everything but pictures: fields of a form, JSON."""


class BodyLimit:
    """Plain ASGI. Without it, anybody could fill the disk with the temporary files of an upload."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app = app
        self.upload_bytes = settings.max_files * settings.max_file_bytes + FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        most = self._most(request)
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > most:
            await answer(request, 413, "too-large", _sentence(most))(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:  # the framework lets this kind pass through its parsers as it is
                raise HTTPException(413, _sentence(most))
            return message

        await self.app(scope, counted, send)

    def _most(self, request: Request) -> int:
        if "authorization" not in request.headers and SESSION_COOKIE not in request.cookies:
            return STRANGERS_BYTES
        kind = request.headers.get("content-type", "")
        return self.upload_bytes if kind.startswith("multipart/form-data") else FORM_BYTES


def _sentence(most: int) -> str:
    size = f"{most // MEGABYTE} MB" if most >= MEGABYTE else f"{most // 1000} kB"
    return f"This is more than the server takes in one request, which is {size} here. Send fewer or smaller files."
