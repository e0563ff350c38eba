"""Every error as an answer: problem details (RFC 9457) for programs, a page for people."""

import errno
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from psycopg.errors import DeadlockDetected
from pydantic import BaseModel
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, NoResultFound, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException

from app.errors import AppError, Busy, TooMany, Unauthorized
from app.logs import log
from app.openai.errors import is_openai, make_error
from app.storage import StorageAway

MEDIA_TYPE = "application/problem+json"
REFERENCES = "#/components/schemas/{model}"
TITLES = {
    400: "Bad request",
    401: "Not logged in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "Cannot be used",
    429: "Too many requests",
    500: "Our mistake",
    503: "Not available",
}
LONGEST_WAY_BACK = 500
"""Characters of an address on this site that the login takes, to lead on to."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_KINDS = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
}


class FieldProblem(BaseModel):
    """One value that cannot be used."""

    field: str
    message: str


class Problem(BaseModel):
    """An error. `detail` is a sentence that can be shown to a person; `type` names the kind for a program."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
    request_id: str = ""


_DESCRIBED = {
    401: ("unauthorized", "Log in first, or send an API key as `Authorization: Bearer pk_...`."),
    403: ("over-quota", "You keep 20 GB of the 20 GB that you may keep. Delete pictures or a history."),
    404: ("not-found", "There is no such history."),
    409: ("conflict", "<rex> is being learned already."),
    413: ("too-large", "garden.jpg has more than 50 megapixels. Send a smaller one."),
    422: ("invalid", "This version does not know <rex>. It knows <momo>."),
    429: ("too-many", "That was too often. Try again in 12 seconds."),
    503: ("unavailable", "No worker has reported its base model yet. Try again when one has started."),
}


OF_ADMINISTRATORS = {
    403: ("forbidden", "Only an administrator may do that."),
    409: ("conflict", "There is a user named grace already."),
}


def described(*statuses: int, examples: Mapping[int, tuple[str, str]] = _DESCRIBED) -> dict[int | str, dict[str, Any]]:
    """These errors as the description of the REST interface shows them, each with an example: its kind and sentence."""
    return {
        status: {
            # By its name, which `interface.schema` explains once: of a model, FastAPI would make a validator for each
            # status of each route when the service starts, and nothing would ever use them.
            "description": TITLES[status],
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": REFERENCES.format(model=Problem.__name__)},
                    "example": {
                        "type": f"about:blank#{examples[status][0]}",
                        "title": TITLES[status],
                        "status": status,
                        "detail": examples[status][1],
                        "request_id": "0f2f3a1c9c114a9e8f3a6f6f7f0e37a1",
                    },
                }
            },
        }
        for status in statuses
    }


def make_problem(
    request: Request, status: int, kind: str, detail: str, errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "type": f"about:blank#{kind}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "request_id": getattr(request.state, "request_id", ""),
    }
    if errors:
        problem["errors"] = errors
    return problem


def wants_page(request: Request) -> bool:
    """People get pages: their browsers ask for HTML, and pages live outside /api and /v1."""
    path = request.url.path
    return not path.startswith("/api/") and not is_openai(path) and "text/html" in request.headers.get("accept", "")


def answer(
    request: Request,
    status: int,
    kind: str,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The error as a page or as problem details; where OpenAI's clients ask, as they read errors."""
    if is_openai(request.url.path):
        fields = [one["field"] for one in errors or ()]
        return JSONResponse(make_error(status, kind, detail, fields), status, headers=headers)
    problem = make_problem(request, status, kind, detail, errors)
    render = getattr(request.app.state, "render_error", None)
    if render is not None and wants_page(request):
        page: Response = render(request, problem)
        page.headers.update(headers or {})
        return page
    return JSONResponse(problem, status, headers=headers, media_type=MEDIA_TYPE)


def _is_part(request: Request) -> bool:
    """htmx asks for a part of a page, and takes an error as problem details."""
    return request.headers.get("hx-request") == "true"


def login_and_back(page: str) -> str:
    """The address of the login that leads on to this page; without its query where that would be too long for it."""
    to = next(one for one in (page, page.partition("?")[0], "/") if len(one) <= LONGEST_WAY_BACK)
    return f"/login?{urlencode({'next': to})}"


def _page_at(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def page_before(request: Request) -> str:
    """The page of this site whose form was sent or whose link was followed; empty when the browser does not say."""
    try:
        before = urlsplit(request.headers.get("referer", ""))
    except ValueError:  # no browser wrote that
        return ""
    is_ours = before.path.startswith("/") and not before.path.startswith(("//", "/\\"))
    return _page_at(before.path, before.query) if is_ours else ""


def _follows_a_link(request: Request) -> bool:
    """A browser that goes from one of our pages to what is none, such as a download."""
    is_page = "text/html" in request.headers.get("accept", "")
    return request.method == "GET" and is_page and bool(page_before(request))


def to_the_door(request: Request) -> Response:
    """A person whose session is over logs in and comes back to the page they were on."""
    if _is_part(request):  # then the whole page has to go there; what was typed into it, it keeps by itself
        page = urlsplit(request.headers.get("hx-current-url", ""))
        to_login = {"HX-Redirect": login_and_back(_page_at(page.path or "/", page.query))}
        return answer(request, 401, Unauthorized.kind, "You are logged out. Log in again.", headers=to_login)
    if request.method == "GET":
        came_for = _page_at(request.url.path, request.url.query) if wants_page(request) else page_before(request)
        return RedirectResponse(login_and_back(came_for), 303)
    sentence = "You are logged out, so nothing was done. Log in, go back to the form, and send it once more."
    return answer(request, 401, Unauthorized.kind, sentence)


def refuse(request: Request, error: AppError) -> Response:
    """The answer to what cannot be done."""
    is_browser = wants_page(request) or _is_part(request) or _follows_a_link(request)
    if isinstance(error, Unauthorized) and is_browser:
        return to_the_door(request)
    errors = [{"field": field, "message": message} for field, message in error.errors]
    headers = {}
    if isinstance(error, TooMany | Busy):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return answer(request, error.status, error.kind, error.message, errors, headers)


def our_mistake(request: Request) -> Response:
    """What nobody foresaw. The log has the rest, under the same number."""
    request_id = getattr(request.state, "request_id", "")
    return answer(request, 500, "our-mistake", f"Something went wrong on our side. Its number is {request_id}.")


def install(app: FastAPI) -> None:
    """One handler for each family of errors."""

    app.add_exception_handler(AppError, refuse)  # type: ignore[arg-type]  # its own kind of exception, not any

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"field": ".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0]), "message": one["msg"]}
            for one in error.errors()
        ]
        first = errors[0] if errors else {"field": "request", "message": "it cannot be read"}
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        detail = f"{first['field']}: {first['message']}{more}."
        if any(one["loc"][0] == "path" for one in error.errors()):
            return answer(request, 404, "not-found", "There is nothing at this address.")
        return answer(request, 422, "invalid", detail, errors)

    @app.exception_handler(HTTPException)
    def refused_by_the_framework(request: Request, error: HTTPException) -> Response:
        kind = _KINDS.get(error.status_code, "refused")
        detail = _SENTENCES.get(error.status_code, f"{str(error.detail).rstrip('.')}.")
        return answer(request, error.status_code, kind, detail, headers=dict(error.headers or {}))

    @app.exception_handler(DataError)
    def not_storable(request: Request, error: DataError) -> Response:
        """Whatever the services let through that the database cannot hold, such as a number of thirty digits."""
        log.warning("not_storable", error=type(error.orig).__name__)  # its text would show the value
        return answer(request, 422, "invalid", "One of the values is none that can be stored.")

    @app.exception_handler(IntegrityError)
    @app.exception_handler(StaleDataError)
    @app.exception_handler(NoResultFound)
    def overtaken(request: Request, error: Exception) -> Response:
        """Two changes met: what one of them builds on was deleted by the other between its look and its commit."""
        log.warning("overtaken", error=type(error).__name__)
        return answer(
            request, 409, "conflict", "This was changed or deleted at the same moment. Look again, then retry."
        )

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    def database_away(request: Request, error: DBAPIError) -> Response:
        if isinstance(error.orig, DeadlockDetected):
            return overtaken(request, error)
        log.error("database_away", error=str(error).partition("\n")[0])
        return answer(request, 503, "unavailable", "The database cannot be reached. Try again in a moment.")

    @app.exception_handler(NoConnectionFree)
    def overloaded(request: Request, error: Exception) -> Response:
        """All connections to the database were in use for longer than anybody waits."""
        log.error("no_connection_free")
        return answer(request, 503, "unavailable", "More is asked of the server than it can do. Try again in a moment.")

    @app.exception_handler(OSError)
    def storage_away(request: Request, error: OSError) -> Response:
        """What is no error of the storage, and not for want of room where uploads wait either, is nothing foreseen: a
        line that broke, a file of our own that is missing.
        """
        is_full = error.errno in NO_ROOM
        if not is_full and not isinstance(error, StorageAway):
            raise error
        log.error("storage_away", error=str(error))
        if is_full:
            return answer(request, 503, "unavailable", "The server's storage is full, so nothing more can be kept now.")
        return answer(request, 503, "unavailable", "The storage cannot be reached. Try again in a moment.")
