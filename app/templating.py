"""Pages: templates become answers. What every page needs comes by itself; a route hands over only what it is about."""

import hashlib
from collections.abc import Hashable, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response
from starlette.types import Scope

from app import words
from app.deps import Caller, session_of, state_of
from app.fragments import Fragments
from app.problems import login_and_back, page_before
from app.shelf import Shelf, shelf_of

FOLDER = Path(__file__).resolve().parents[1] / "templates"
STATIC = FOLDER / "static"
FOR_EVER = "public, max-age=31536000, immutable"


@cache
def static_url(name: str) -> str:
    """Address of a static file that changes with its content, so that browsers may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def module_url(name: str) -> str:
    """Address of a script that others import: the one they import it by. Under a second one it would run twice."""
    return f"/static/{name}"


def address(path: str, **query: object) -> str:
    """A path with those values of the query that are there."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


class Pages(Environment):
    """Globals that are there before the first template is loaded, as ours are, in a plain dictionary. Otherwise each
    template looks everything up in a chain of them, at every name and every `import` and `include`.
    """

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        return {**self.globals, **(d or {})}


def still(template: str, **about: Hashable) -> Markup:
    """A part of a page that is the same for everybody and at any time, but for `about`: made once in a process."""
    return _still(template, tuple(sorted(about.items())))


@cache
def _still(template: str, about: tuple[tuple[str, Hashable], ...]) -> Markup:
    return Markup(ENVIRONMENT.get_template(template).render(dict(about)))  # noqa: S704  # a template escapes by itself


def kept(template: str, shows: Hashable, **about: Any) -> Markup:
    """A part of a page. shows: all that it shows of `about`."""

    def make() -> Markup:
        return Markup(ENVIRONMENT.get_template(template).render(about))  # noqa: S704  # a template escapes by itself

    return FRAGMENTS.get((template, shows), make)


def make_environment() -> Environment:
    """A name that a template does not get is an error, never an empty place."""
    environment = Pages(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # or each `import` and `include` would ask the disk whether its file has changed
    )
    environment.globals |= {
        "static": static_url,
        "module": module_url,
        "address": address,
        "still": still,
        "kept": kept,
    }
    environment.filters |= {
        "ago": words.ago,
        "amount": words.amount,
        "bytes": words.in_bytes,
        "duration": words.duration,
        "moment": words.moment,
        "number": words.number,
        "percent": words.percent,
        "prompt": words.prompt,
        "slug": words.slug,
        "with_article": words.with_article,
    }
    return environment


ENVIRONMENT = make_environment()
FRAGMENTS = Fragments()


def render(request: Request, template: str, caller: Caller | None, *, status: int = 200, **about: Any) -> HTMLResponse:
    """A page, or a fragment of one. `about`: what the template shows.

    Besides, every template has `caller` (None when nobody is logged in), `csrf_token` for its forms, `shelf` (the
    caller's histories and the current one), `here` (path and query) and `is_fragment` (htmx asks for a part).
    """
    given = {
        "caller": caller,
        "csrf_token": (caller.csrf_token or "") if caller else "",
        "shelf": _shelf(request, caller),
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "is_fragment": is_fragment(request),
        "place": "",
    }
    text = ENVIRONMENT.get_template(template).render({**given, **about})
    # A page shows one person's things and goes stale at once; a fragment and its page share an address.
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store", "Vary": "HX-Request"})


def is_fragment(request: Request) -> bool:
    """htmx asks for a part of a page, unless it restores a page that left its history."""
    return request.headers.get("hx-request") == "true" and "hx-history-restore-request" not in request.headers


def address_of_site(request: Request) -> str:
    """What people type to get here, for calls that can be copied."""
    return state_of(request).settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")


def _shelf(request: Request, caller: Caller | None) -> Shelf | None:
    if caller is None or is_fragment(request):
        return None
    with session_of(request) as session:
        return shelf_of(session, caller.id, request.path_params.get("history_id"))


def render_error(request: Request, problem: dict[str, Any]) -> HTMLResponse:
    """An error as a page. It asks nothing of the database, which may be what is away."""
    about = {"caller": None, "csrf_token": "", "shelf": None, "here": "", "is_fragment": False, "place": ""}
    back = "" if request.method == "GET" else page_before(request)
    about |= {"back": back, "login": login_and_back(back or "/")}
    text = ENVIRONMENT.get_template("error.html").render({**about, "problem": problem})
    return HTMLResponse(text, problem["status"], headers={"Cache-Control": "no-store"})


class StaticForEver(StaticFiles):
    """Files whose address names their content may be kept, and so may fonts: a new one would get a new name. The others
    are asked about each time.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        lasts = b"v=" in scope.get("query_string", b"") or path.startswith("fonts/")
        response.headers["Cache-Control"] = FOR_EVER if lasts else "no-cache"
        return response


def install(app: FastAPI) -> None:
    """Serve the static files, and show errors as pages."""
    app.mount("/static", StaticForEver(directory=STATIC), name="static")
    app.state.render_error = render_error
