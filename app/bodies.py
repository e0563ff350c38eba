"""What a request may bring: how much, and in which letters. Decided before anything of it is kept, and counted while it
comes.
"""

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import MEGABYTE, Settings
from app.deps import SESSION_COOKIE, caller_if_any, state_of
from app.errors import AppError, TooLarge, Unauthorized
from app.problems import refuse
from app.texts import check_charset

STRANGERS_BYTES = 64_000
"""Whoever shows neither a cookie nor a key has nothing to send but a name and a password."""
STRANGERS_PATHS = ("/login", "/first-run")
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
        announced = _announced(request)
        if announced == 0:  # nothing will come, as with nearly every request
            await self.app(scope, receive, send)
            return
        try:
            check_charset(request.headers.get("content-type", ""))
        except AppError as error:
            await refuse(request, error)(scope, receive, send)
            return
        most = await self._most(request, announced)
        if announced is not None and announced > most:
            await refuse(request, _too_much(request, most))(scope, receive, send)
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

    async def _most(self, request: Request, announced: int | None) -> int:
        if "authorization" not in request.headers and SESSION_COOKIE not in request.cookies:
            return STRANGERS_BYTES
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return FORM_BYTES
        if announced is not None and announced <= FORM_BYTES:
            return FORM_BYTES
        # Anybody can write a cookie of that name, so for this much it has to be one that opens.
        return self.upload_bytes if await run_in_threadpool(_is_known, request) else STRANGERS_BYTES


def _announced(request: Request) -> int | None:
    """The length that the request says it has; None for one that comes in pieces."""
    length = request.headers.get("content-length", "" if "transfer-encoding" in request.headers else "0")
    return int(length) if length.isdecimal() and len(length) < 19 else None


def _is_known(request: Request) -> bool:
    try:
        return caller_if_any(request, state_of(request)) is not None
    except SQLAlchemyError:
        return True  # the route will say that the database is away


def _too_much(request: Request, most: int) -> AppError:
    if most == STRANGERS_BYTES and request.url.path not in STRANGERS_PATHS:
        return Unauthorized("Log in first, or send an API key as `Authorization: Bearer pk_...`.")
    return TooLarge(_sentence(most))


def _sentence(most: int) -> str:
    size = f"{most // MEGABYTE} MB" if most >= MEGABYTE else f"{most // 1000} kB"
    return f"This is more than the server takes in one request, which is {size} here. Send fewer or smaller files."
