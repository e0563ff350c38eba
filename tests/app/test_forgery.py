"""No change without the token of a page of ours: over every route that changes something, and in every form."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from app.accounts.service import create_user
from app.config import Settings
from app.db import Sessions, UnitOfWork
from app.main import create_app
from app.templating import FOLDER
from tests.app.person import Person
from tests.app.test_page_ownership import log_in

OPENS = "a long enough one"
SOME_ID = "0b4d5a5e-8a43-4f0e-9d2a-6a1c9d1f2e11"
TOKEN = "t" * 40


def changes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every route that changes something, pages and REST, with ids of nothing."""
    for route in iter_route_contexts(app.routes):
        for method in route.methods or ():
            if method not in ("GET", "HEAD", "OPTIONS"):
                path = (route.path or "").replace("{number}", "1")
                yield method, re.sub(r"\{\w+\}", SOME_ID, path)


def test_whoever_is_logged_in_changes_nothing_by_a_form_of_another_site(ada: Person, sessions: Sessions) -> None:
    browser = ada.client
    log_in(browser, sessions, ada.id, TOKEN)
    del browser.headers["X-CSRF-Token"]
    found = list(changes(browser.app))  # type: ignore[arg-type]
    assert len(found) > 35
    for method, path in found:
        for data in ({}, {"csrf_token": ""}, {"csrf_token": "guessed"}):
            answer = browser.request(method, path, data=data, follow_redirects=False)
            assert answer.status_code == 403, f"{method} {path}: {answer.status_code} {answer.text[:200]}"
    assert browser.get("/account").status_code == 200


@pytest.mark.parametrize("template", sorted(FOLDER.rglob("*.html")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_form_that_changes_something_carries_its_token(template: Path) -> None:
    for form in re.findall(r"<form\b.*?</form>", template.read_text(encoding="utf-8"), re.DOTALL):
        if 'method="post"' in form.partition(">")[0] or "formmethod" in form:
            assert "csrf_token" in form or "form_token" in form, form[:200]


def test_every_form_names_a_method() -> None:
    """One without would put what was typed into the address."""
    for template in FOLDER.rglob("*.html"):
        for form in re.findall(r"<form\b[^>]*>", template.read_text(encoding="utf-8")):
            assert 'method="' in form, f"{template.name}: {form}"


def test_logging_in_takes_no_session_that_was_brought_along(client: TestClient, sessions: Sessions) -> None:
    create_user(UnitOfWork(sessions, lambda *_args, **_kwargs: None), "ada", OPENS)
    brought = "session-of-somebody-who-set-a-trap"
    client.cookies.set("palimpsest_session", brought)
    page = client.get("/login", headers={"Accept": "text/html"})
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found
    data = {"csrf_token": found[1], "name": "ada", "password": OPENS}
    answer = client.post("/login", data=data, follow_redirects=False)
    given = [value for value in answer.headers.get_list("set-cookie") if value.startswith("palimpsest_session=")]
    assert len(given) == 1
    assert brought not in given[0]
    client.cookies.clear()
    client.cookies.set("palimpsest_session", brought)
    assert client.get("/account", follow_redirects=False).status_code == 401


def test_behind_tls_cookies_travel_over_https_only_and_browsers_are_told_so(
    config: Settings, sessions: Sessions
) -> None:
    create_user(UnitOfWork(sessions, lambda *_args, **_kwargs: None), "ada", OPENS)
    safe = config.model_copy(update={"behind_tls": True})
    app = create_app(safe, lambda *_args, **_kwargs: None)
    with TestClient(app, base_url="https://testserver") as client:
        page = client.get("/login", headers={"Accept": "text/html"})
        assert "max-age" in page.headers["strict-transport-security"]
        found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert found
        data = {"csrf_token": found[1], "name": "ada", "password": OPENS}
        answer = client.post("/login", data=data, follow_redirects=False)
        set_ = page.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie")
        kept = [value.lower() for value in set_ if "max-age=0" not in value.lower()]
        names = [value.partition("=")[0] for value in kept]
        assert names == ["palimpsest_form", "palimpsest_known", "palimpsest_session"]
        assert all("secure" in value and "httponly" in value and "samesite=lax" in value for value in kept)
