"""Text that nobody can write or read is refused in a sentence, wherever it is sent, and breaks nothing."""

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.accounts.models import User
from app.accounts.service import create_user
from app.db import Sessions, UnitOfWork
from app.histories.models import History
from app.security import digest_of, hash_password, password_fits, same
from tests.app.person import Person
from tests.app.test_pages import tree  # noqa: F401 - a fixture

LONE = "\ud800"  # half of a pair: in JSON it can be said, in UTF-8 it cannot
OPENS = "a long enough one"


def form(**fields: str) -> bytes:
    """Fields as the body of a form with files, as they are."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    return "".join([*parts, "--x--\r\n"]).encode()


def said_as(charset: str) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}", "Accept": "text/html"}


@pytest.mark.parametrize("charset", ["utf-7", '"UTF-7"', "unicode_escape", "undefined", "latin-1", "none-there-is"])
def test_a_form_that_is_not_written_in_utf_8_is_refused_before_anybody_is_asked_who_they_are(
    client: TestClient, sessions: Sessions, charset: str
) -> None:
    body = form(**dict.fromkeys(("csrf_token", "name", "password"), "+2AA-"))  # in UTF-7 the half of a pair
    for path in ("/login", "/first-run", "/histories", "/api/v1/histories/x/concepts"):
        answer = client.post(path, content=body, headers=said_as(charset))
        assert answer.status_code == 422, f"{path}: {answer.text}"
        assert "A form is read as UTF-8" in answer.text


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf8"'])
def test_a_form_may_say_that_it_is_written_in_utf_8(client: TestClient, sessions: Sessions, charset: str) -> None:
    create_user(UnitOfWork(sessions, lambda *_args, **_kwargs: None), "ada", OPENS)
    page = client.get("/login", headers={"Accept": "text/html"})
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token is not None
    body = form(csrf_token=token[1], name="ada", password=OPENS)
    answer = client.post("/login", content=body, headers=said_as(charset), follow_redirects=False)
    assert answer.status_code == 303


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/histories", {"name": LONE}),
        ("PATCH", "/histories/{history}", {"name": LONE}),
        ("PATCH", "/histories/{history}/versions/1", {"label": LONE}),
        ("POST", "/histories/{history}/generations", {"prompt": LONE}),
        ("POST", "/histories/{history}/generations", {"prompt": "a mug", "negative_prompt": LONE}),
        ("POST", "/histories/{history}/generations", {"prompt": "a mug", "sampler": LONE}),
        ("POST", "/histories/{history}/generations", {"prompt": "a mug", LONE: 1}),
        ("POST", "/histories/{history}/forgettings", {"concept": LONE}),
        ("POST", "/histories/{history}/versions/1/again", {"signature": LONE}),
        ("POST", "/api-keys", {"name": LONE}),
        ("POST", "/users", {"name": LONE, "password": OPENS}),
        ("POST", "/users", {"name": "grace", "password": LONE * 20}),
        ("PATCH", "/users/{user}", {"password": LONE * 20}),
    ],
)
def test_a_lone_surrogate_is_refused_wherever_json_takes_a_text(
    ada: Person,
    tree: History,  # noqa: F811
    sessions: Sessions,
    method: str,
    path: str,
    body: dict[str, Any],
) -> None:
    with sessions() as session:
        session.get_one(User, ada.id).is_admin = True
        session.commit()
    where = path.format(history=tree.id, user=ada.id)
    answer = ada.ask(method, where, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize("field", ["captions", "settings"])
def test_brackets_without_an_end_are_no_list(ada: Person, field: str) -> None:
    answer = ada.teach("rex", data={field: "[" * 100_000})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_what_cannot_be_written_is_no_secret_of_anybodys() -> None:
    kept = hash_password(OPENS)
    assert not password_fits(LONE, kept)
    assert not password_fits(LONE, None)
    assert not same(LONE, OPENS)
    assert digest_of(LONE) != digest_of(OPENS)
