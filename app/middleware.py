"""Around every request: its number, its log line, its measures, and the headers that keep browsers careful."""

import re
import time
import uuid

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import log
from app.metrics import REQUESTS, SECONDS
from app.problems import our_mistake

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # a client may make up any other word
QUIET = ("/healthz", "/readyz", "/metrics", "/static/")
HEADERS = {
    # Scripts and styles from our own files only; pictures also from memory, for previews of files to be uploaded.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
OVER_TLS = (b"strict-transport-security", b"max-age=31536000")


def _pattern(scope: Scope) -> str:
    """The route's address with the names of its ids, so that ids make no new series."""
    path: str = getattr(scope.get("route"), "path", "none")
    return path


class Surroundings:
    """Plain ASGI, so that event streams pass through piece by piece."""

    def __init__(self, app: ASGIApp, behind_tls: bool):
        self.app, self.log = app, log.bind()
        self.headers = [*RAW_HEADERS, OVER_TLS] if behind_tls else RAW_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = sent if _SANE_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.monotonic()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                SECONDS.labels(_pattern(scope)).observe(time.monotonic() - started)  # a stream goes on after it
                given = {name for name, _ in message["headers"]}
                ours = [(b"x-request-id", request_id.encode()), *self.headers]
                message["headers"] = [*message["headers"], *(one for one in ours if one[0] not in given)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # whoever asked is gone; there is nobody to answer
        except Exception as error:
            # Here and not in the framework's outermost layer, so that this answer too has its headers and its number.
            log.error("unexpected", exc_info=error)
            if status:
                raise  # half of an answer has left; all that can be done is to break it off
            await our_mistake(Request(scope))(scope, receive, send_with_headers)
        finally:
            seconds = time.monotonic() - started
            REQUESTS.labels(scope["method"] if scope["method"] in METHODS else "other", _pattern(scope), status).inc()
            if not scope["path"].startswith(QUIET):
                self.log.info(
                    "request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000)
                )
