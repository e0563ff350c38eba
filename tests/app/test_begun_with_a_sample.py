"""A history that begins with a sample: both are begun, or neither is."""

from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts.models import User
from app.concepts.models import ConceptPicture, Upload
from app.config import Settings
from app.db import Sessions
from app.errors import TooMany
from app.histories import pages
from app.histories.models import History
from app.jobs.models import Job
from app.main import create_app
from tests.app import make
from tests.app.person import Person, make_person
from tests.app.test_pages import Ask, ask, words  # noqa: F401 - fixtures

WITH_SAMPLE = {"name": "toys", "sample": "bolt"}


@pytest.fixture
def ada(ada: Person, sessions: Sessions) -> Person:
    with sessions() as session:
        make.base_model(session).facts = {**make.FACTS, "name": "storybook"}
        session.commit()
    return ada


def names(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(History.name).order_by(History.created_at)))


def test_its_learning_starts_from_the_samples_own_pictures(
    ask: Ask,  # noqa: F811
    ada: Person,
    sessions: Sessions,
) -> None:
    answer = ask("POST", "/histories", data=WITH_SAMPLE)
    assert answer.status_code == 303
    assert names(sessions) == ["pets", "toys"]
    with sessions() as session:
        job = session.scalars(select(Job)).one()
        assert answer.headers["location"] == f"/jobs/{job.id}"
        assert len(session.scalars(select(ConceptPicture)).all()) == 5
        assert session.scalars(select(Upload)).all() == []


def refused(answer: httpx.Response, sessions: Sessions, status: int, said: str) -> None:
    assert (answer.status_code, said in words(answer)) == (status, True), words(answer)
    assert 'value="toys"' in answer.text
    assert names(sessions) == ["pets"]
    with sessions() as session:
        assert session.scalars(select(Upload)).all() == []


def test_whoever_keeps_as_much_as_they_may_begins_nothing(
    ask: Ask,  # noqa: F811
    ada: Person,
    sessions: Sessions,
) -> None:
    ada.teach("rex", pictures=1)
    with sessions() as session:
        session.get_one(User, ada.id).quota_bytes = 1
        session.commit()
    refused(ask("POST", "/histories", data=WITH_SAMPLE), sessions, 403, "of the 1 byte that you may keep")
    assert ask("POST", "/histories", data={"name": "mugs"}).status_code == 303  # an empty one keeps nothing


def test_whoever_has_as_many_jobs_as_they_may_begins_nothing(config: Settings, sessions: Sessions) -> None:
    strict = config.model_copy(update={"max_open_jobs": 1})
    with TestClient(create_app(strict, lambda *_args, **_kwargs: None)) as client:
        ada = make_person(client, sessions, "ada")
        with sessions() as session:
            make.base_model(session).facts = {**make.FACTS, "name": "storybook"}
            session.commit()
        ada.teach("rex")
        headers = {"Authorization": f"Bearer {ada.key}", "Accept": "text/html"}
        answer = client.post("/histories", data=WITH_SAMPLE, headers=headers)
        refused(answer, sessions, 429, "You have 1 jobs waiting or running")


def test_a_job_that_another_page_starts_meanwhile_leaves_no_empty_history(
    ask: Ask,  # noqa: F811
    ada: Person,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes between the look at the open jobs and the start."""

    def too_late(*_: object, **__: object) -> None:
        raise TooMany("You have 1 jobs waiting or running; let some end, or cancel them.")

    monkeypatch.setattr(pages.concepts, "start_learning", too_late)
    refused(ask("POST", "/histories", data=WITH_SAMPLE), sessions, 429, "You have 1 jobs waiting or running")


@pytest.mark.usefixtures("full_disk")
def test_a_storage_that_is_full_leaves_no_empty_history(
    ask: Ask,  # noqa: F811
    ada: Person,
    sessions: Sessions,
) -> None:
    assert ask("POST", "/histories", data=WITH_SAMPLE).status_code == 503
    assert names(sessions) == ["pets"]


@pytest.mark.parametrize("wrong", [{"sample": "nobody"}, {"base_id": "c" * 64}, {"name": ""}])
def test_what_there_is_not_begins_nothing(
    ask: Ask,  # noqa: F811
    ada: Person,
    sessions: Sessions,
    wrong: dict[str, Any],
) -> None:
    assert ask("POST", "/histories", data={**WITH_SAMPLE, **wrong}).status_code in (404, 422)
    assert names(sessions) == ["pets"]
