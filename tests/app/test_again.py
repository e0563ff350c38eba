"""A remedy is applied by a button: the same pictures, once more, with what it changes."""

import html
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.concepts.again import merge_changes
from app.concepts.models import Concept, ConceptPicture
from app.db import Sessions
from app.histories.models import HeadMove, History, Version
from app.jobs.models import Job, JobState
from app.queue import LEARN
from tests.app import make
from tests.app.person import Person

REMEDY = "Learn <momo> again with 260 steps instead of 20 and 20 calibration prompts instead of 0."
FOUND: list[dict[str, Any]] = [
    {"signature": "underfitting", "concept": "momo", "severity": "bad", "value": 0.1, "threshold": 0.2,
     "sentence": "<momo> is hardly recognisable.", "remedy": REMEDY,
     "changes": {"steps": 260, "selection": {"general_prompts": 20}}},
    {"signature": "bleeding", "concept": "rex", "severity": "ok", "value": 0.0, "threshold": 0.2,
     "sentence": "<rex> has kept apart from <momo>.", "remedy": "", "changes": {}},
]  # fmt: skip


@pytest.fixture
def momo(ada: Person, sessions: Sessions) -> Version:
    """Version 2, which is head: momo, learned from three pictures in too few steps, on top of rex."""
    job_id = ada.teach(
        "momo", data={"settings": '{"steps": 20, "seed": 7, "selection": {"general_prompts": 0, "fraction": 0.4}}'}
    ).json()["job"]["id"]
    with sessions() as session:
        job, history = session.get_one(Job, job_id), session.get_one(History, ada.history_id)
        rex = make.version(session, history, 1, "rex")
        version = make.version(session, history, 2, "momo", rex.id)
        version.concept_id, version.job_id, version.diagnosis = job.concept_id, job.id, FOUND
        job.state, history.head_id = JobState.DONE.value, version.id
        session.commit()
        return version


def page(ada: Person, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ada.key}", "Accept": "text/html"}
    return ada.client.request(method, path, headers=headers, follow_redirects=False, **options)


def again(ada: Person, number: int = 2, signature: str = "underfitting", **options: Any) -> httpx.Response:
    path = f"/histories/{ada.history_id}/versions/{number}/again"
    return ada.ask("POST", path, json={"signature": signature}, **options)


def test_the_same_pictures_are_learned_on_the_version_below_with_what_the_remedy_changes(
    ada: Person, momo: Version, sessions: Sessions, sent: list[tuple[str, dict[str, str]]]
) -> None:
    sent.clear()
    started = again(ada)
    assert started.status_code == 202
    with sessions() as session:
        job = session.get_one(Job, started.json()["id"])
        assert job.settings == {"steps": 260, "seed": 7, "selection": {"general_prompts": 20, "fraction": 0.4}}
        concept = session.get_one(Concept, job.concept_id)
        assert (concept.name, concept.class_noun) == ("momo", "dog")
        taught = [
            session.scalars(
                select(ConceptPicture.blob_sha256)
                .where(ConceptPicture.concept_id == concept_id)
                .order_by(ConceptPicture.position)
            ).all()
            for concept_id in (momo.concept_id, concept.id)
        ]
        assert taught[0] == taught[1]
        assert len(taught[0]) == 3
        move = session.scalars(select(HeadMove)).one()
        assert (move.from_id, move.to_id, move.why) == (momo.id, momo.parent_id, "to learn momo again")
    assert sent == [(LEARN, {"job_id": started.json()["id"]})]
    assert ada.ask("GET", f"/histories/{ada.history_id}").json()["head"] == 1
    assert ada.ask("GET", f"/histories/{ada.history_id}/versions/2").status_code == 200  # it stays


def test_what_was_made_by_forgetting_is_learned_again_as_it_was_the_first_time(
    ada: Person, momo: Version, sessions: Sessions
) -> None:
    """Its version has no learning of its own, but its concept has one."""
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        made = make.version(session, history, 3, "momo")
        made.concept_id, made.diagnosis, history.head_id = momo.concept_id, FOUND, made.id
        session.commit()
    started = again(ada, number=3)
    assert started.status_code == 202, started.text
    assert started.json()["settings"]["seed"] == 7


def test_what_has_no_remedy_is_refused_and_nothing_moves(ada: Person, momo: Version) -> None:
    assert again(ada, signature="bleeding").status_code == 409
    assert again(ada, signature="measles").status_code == 409
    assert again(ada, number=0).status_code == 422
    assert again(ada, number=9).status_code == 404
    assert ada.ask("GET", f"/histories/{ada.history_id}").json()["head"] == 2


def test_it_is_asked_for_once(ada: Person, momo: Version) -> None:
    headers = {"Idempotency-Key": "k"}
    first = again(ada, headers=headers)
    assert again(ada, headers=headers).json()["id"] == first.json()["id"]
    refused = again(ada)  # as it is being learned
    assert (refused.status_code, "being learned already" in refused.text) == (409, True)


def test_the_page_offers_it_beside_the_finding_that_has_a_remedy(ada: Person, momo: Version) -> None:
    shown = page(ada, f"/histories/{ada.history_id}/timeline")
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", shown.text)).split())
    assert f"{REMEDY} Learn it again so, on version 1" in text
    assert text.count("Learn it again so") == 1
    path = f"/histories/{ada.history_id}/versions/2/again"
    once = re.search(r'name="once" value="(\w+)"', shown.text)
    assert once is not None
    form = {"signature": "underfitting", "once": once[1]}
    sent_twice = [page(ada, path, "POST", data=form).headers["location"] for _ in range(2)]
    assert sent_twice[0] == sent_twice[1]
    assert sent_twice[0].startswith("/jobs/")


def test_the_page_says_what_was_learned_since_and_is_not_in_use_then(
    ada: Person, momo: Version, sessions: Sessions
) -> None:
    timeline = f"/histories/{ada.history_id}/timeline?version=2"
    assert "not in use then" not in page(ada, timeline).text
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        history.head_id = make.version(session, history, 3, "tom", momo.id).id
        session.commit()
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page(ada, timeline).text)).split())
    assert "<tom> is not in use then, but can be gone back to." in text


def test_changes_lie_on_top_of_what_was_set() -> None:
    assert merge_changes({"seed": 1}, {"steps": 2}) == {"seed": 1, "steps": 2}
    assert merge_changes({"selection": {"fraction": 0.4}}, {"steps": 2}) == {"selection": {"fraction": 0.4}, "steps": 2}
    assert merge_changes({"selection": None}, {"selection": {"fraction": 0.2}}) == {"selection": {"fraction": 0.2}}
