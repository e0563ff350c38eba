"""Connections to read with are fewer than threads: no request waits for a second one while it holds one, or holds one
while it waits for something else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Pool, QueuePool, create_engine

from app.accounts.models import User
from app.concepts import api, pages, sample_concepts
from app.concepts.sample_concepts import SampleConcept
from app.config import Settings
from app.db import Sessions, make_sessions
from app.histories import pages as histories_pages
from app.histories.models import History
from app.main import create_app
from app.pictures import CheckedPicture, check_picture
from tests.app import make
from tests.app.person import Person, make_person, png

PATIENCE_S = 1.0  # only whoever would wait for ever waits that long


@pytest.fixture
def pool(config: Settings) -> Iterator[Pool]:
    """The connections that a web process reads with: one."""
    engine = create_engine(
        config.database_url,
        isolation_level="AUTOCOMMIT",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=PATIENCE_S,
    )
    yield engine.pool
    engine.dispose()


@pytest.fixture
def client(config: Settings, sessions: Sessions, pool: Pool) -> Iterator[TestClient]:
    """A client of a service that has no more connections to read with than that one."""
    app = create_app(config, lambda *_args, **_kwargs: None)
    reading = create_engine(config.database_url, isolation_level="AUTOCOMMIT", pool=pool)
    app.state.palimpsest = replace(app.state.palimpsest, reading=reading, readers=make_sessions(reading))
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def ada(client: TestClient, sessions: Sessions) -> Person:
    """An administrator whose history knows rex, and momo on top of it."""
    person = make_person(client, sessions, "ada")
    with sessions() as session:
        session.get_one(User, person.id).is_admin = True
        history = session.get_one(History, person.history_id)
        first = make.version(session, history, 1, "rex")
        history.head_id = make.version(session, history, 2, "momo", first.id).id
        session.commit()
    return person


def post(person: Person, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {person.key}", "Accept": "text/html"}
    return person.client.post(path, headers=headers, follow_redirects=False, **options)


FILE = ("pictures", ("dog.png", png(), "image/png"))
ABOUT = {"name": "bolt", "class_noun": "dog"}
FORMS: Sequence[tuple[str, dict[str, Any]]] = (
    ("/histories/{}/generations", {"data": {"prompt": "a <rex> dog"}}),
    ("/histories/{}/generations", {"data": {"prompt": ""}}),
    ("/histories/{}/forget", {"data": {"concept": "momo"}}),
    ("/histories/{}/compare", {"data": {"left": "1", "right": "2", "prompt": "a <rex> dog"}}),
    ("/histories/{}/versions/2/draw", {}),
    ("/histories/{}/teach", {"data": ABOUT, "files": [FILE]}),
    ("/histories/{}/teach", {"data": {**ABOUT, "name": "two words"}, "files": [FILE]}),
    ("/uploads", {"files": [FILE]}),
    ("/api/v1/histories/{}/concepts", {"data": ABOUT, "files": [FILE]}),
    ("/api/v1/histories/{}/generations", {"json": {"prompt": "a <rex> dog"}}),
    ("/histories", {"data": {"name": "mugs"}}),
)


@pytest.mark.parametrize(("path", "sent"), FORMS, ids=[path for path, _ in FORMS])
def test_a_form_is_answered_over_one_connection(ada: Person, path: str, sent: dict[str, Any]) -> None:
    answer = post(ada, path.format(ada.history_id), **sent)
    assert answer.status_code in (201, 202, 303, 422), answer.text


def test_the_page_about_the_server_is_answered_over_one_connection(ada: Person) -> None:
    headers = {"Authorization": f"Bearer {ada.key}", "Accept": "text/html"}
    page = ada.client.get("/server", headers=headers)
    assert page.status_code == 200
    assert "cannot be reached (TimeoutError)" not in page.text


def test_nobody_holds_a_connection_while_pictures_are_decoded(
    ada: Person, pool: QueuePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are decoded at a time; all who wait for that would keep the connections from everybody else."""
    held = []

    def check(data: bytes, name: str, limits: Settings) -> CheckedPicture:
        held.append(pool.checkedout())
        return check_picture(data, name, limits)

    (tmp_path / "cat.png").write_bytes(png(4))
    sample = SampleConcept("luna", "cat", (tmp_path / "cat.png",))
    for module in (pages, histories_pages):
        monkeypatch.setattr(module, "sample_concept", lambda *_: sample)
    for module in (pages, sample_concepts, api):
        monkeypatch.setattr(module, "check_picture", check)
    home = f"/histories/{ada.history_id}"
    for path, sent in (
        ("/uploads", {"files": [FILE]}),
        (f"{home}/teach", {"data": ABOUT, "files": [FILE, FILE]}),
        (f"{home}/samples/luna", {}),
        ("/histories", {"data": {"name": "toys", "sample": "luna"}}),
        (f"/api/v1{home}/concepts", {"data": {**ABOUT, "name": "zigi"}, "files": [FILE]}),
    ):
        assert post(ada, path, **sent).status_code in (201, 202, 303)
    assert held == [0] * 6


def test_whoever_finds_all_connections_in_use_is_told_that_it_is_too_much(ada: Person, pool: Pool) -> None:
    taken = pool.connect()
    try:
        for answer in (ada.ask("GET", "/me"), post(ada, "/histories", data={"name": "mugs"})):
            assert answer.status_code == 503
            assert "More is asked of the server than it can do. Try again in a moment." in answer.text
    finally:
        taken.close()
