"""A version that was held back: what REST and pages say of it, and how it is used all the same."""

import html
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.db import Sessions
from app.histories.models import History, Version
from app.jobs.models import Job, JobKind, JobState
from tests.app import make
from tests.app.person import Person

WHY = {
    "signature": "bleeding",
    "concept": "rex",
    "severity": "bad",
    "value": 0.5,
    "threshold": 0.35,
    "sentence": "<rex> is turning into <momo>.",
    "remedy": "Learn <momo> again with fewer steps.",
}


@pytest.fixture
def held(ada: Person, sessions: Sessions) -> Job:
    """Rex is in use; momo's learning was done, and its version was held back."""
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        rex = make.version(session, history, 1, "rex")
        momo = make.version(session, history, 2, "momo", rex.id)
        job = Job(
            owner_id=ada.id,
            history_id=history.id,
            kind=JobKind.LEARN.value,
            concept_id=momo.concept_id,
            state=JobState.DONE.value,
        )
        session.add(job)
        session.flush()
        job.started_at = job.finished_at = job.created_at
        momo.job_id, momo.diagnosis, momo.held_back = job.id, [WHY], [WHY]
        history.head_id = rex.id
        session.commit()
        return job


def page(ada: Person, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ada.key}", "Accept": "text/html"}
    return ada.client.request(method, path, headers=headers, follow_redirects=False, **options)


def words(answer: httpx.Response) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", answer.text)).split())


def test_programs_are_told_which_version_was_held_back_and_why(ada: Person, held: Job) -> None:
    version = ada.ask("GET", f"/histories/{ada.history_id}/versions/2").json()
    assert (version["is_head"], version["held_back"]) == (False, [WHY])
    assert ada.ask("GET", f"/histories/{ada.history_id}/versions/1").json()["held_back"] == []
    job = ada.ask("GET", f"/jobs/{held.id}").json()
    assert (job["version"], job["held_back"]) == (2, ["<rex> is turning into <momo>."])


def test_the_timeline_says_why_it_stands_beside_head_and_offers_it_all_the_same(ada: Person, held: Job) -> None:
    shown = words(page(ada, f"/histories/{ada.history_id}/timeline?version=2"))
    assert "held back" in shown
    assert "It stands beside version 1, which is still in use, because learning it did damage." in shown
    assert "<rex> is turning into <momo>. Learn <momo> again with fewer steps." in shown
    assert "Use version 2 all the same" in shown
    assert "It stands beside" not in words(page(ada, f"/histories/{ada.history_id}/timeline?version=1"))


def test_the_page_of_the_learning_says_so_too(ada: Person, held: Job) -> None:
    shown = page(ada, f"/jobs/{held.id}")
    assert "It stands beside version 1" in words(shown)
    assert "Make pictures of it" not in words(shown)  # prompts do not know it
    assert f'action="/histories/{ada.history_id}/head"' in shown.text


def test_it_is_made_head_by_the_move_that_every_version_has(ada: Person, held: Job) -> None:
    moved = page(ada, f"/histories/{ada.history_id}/head", "POST", data={"version": "2"})
    assert moved.status_code == 303
    assert ada.ask("GET", f"/histories/{ada.history_id}").json()["head"] == 2
    shown = words(page(ada, f"/histories/{ada.history_id}/timeline?version=2"))
    assert "It was held back when it was learned, and is in use because you chose it." in shown
    assert "It stands beside" not in words(page(ada, f"/jobs/{held.id}"))


def test_what_stands_on_it_is_in_use_because_it_was_chosen(ada: Person, held: Job, sessions: Sessions) -> None:
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        momo = session.scalars(select(Version).where(Version.history_id == history.id, Version.number == 2)).one()
        history.head_id = make.version(session, history, 3, "zigi", momo.id).id
        session.commit()
    shown = words(page(ada, f"/histories/{ada.history_id}/timeline?version=2"))
    assert "It was held back when it was learned, and what is in use stands on it because you chose it." in shown
    assert "all the same" not in shown
    assert 'class="mark warn"' not in page(ada, f"/histories/{ada.history_id}/timeline").text
    assert "Make pictures of it" in words(page(ada, f"/jobs/{held.id}"))


def test_a_history_guards_its_head_until_its_owner_says_otherwise(ada: Person, bob: Person) -> None:
    path = f"/histories/{ada.history_id}"
    assert ada.ask("GET", path).json()["guards_head"] is True
    changed = ada.ask("PATCH", path, json={"guards_head": False}).json()
    assert (changed["name"], changed["guards_head"]) == ("pets", False)
    assert ada.ask("PATCH", path, json={"name": "our pets"}).json()["guards_head"] is False
    assert bob.ask("PATCH", path, json={"guards_head": True}).status_code == 404
    assert ada.ask("GET", path).json()["guards_head"] is False


def test_the_choice_is_made_on_the_timeline_as_well(ada: Person) -> None:
    timeline = f"/histories/{ada.history_id}/timeline"
    assert re.search(r'name="guards_head" value="yes" checked', page(ada, timeline).text)
    assert page(ada, f"/histories/{ada.history_id}/guard", "POST", data={}).headers["location"] == timeline
    assert not re.search(r'name="guards_head" value="yes" checked', page(ada, timeline).text)
    page(ada, f"/histories/{ada.history_id}/guard", "POST", data={"guards_head": "yes"})
    assert ada.ask("GET", f"/histories/{ada.history_id}").json()["guards_head"] is True
