"""Asking to forget: what is refused, what is queued, and what the pages say."""

import html
import re
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, update

from app.db import Sessions
from app.forgettings.models import Forgetting, Mode
from app.histories.models import History
from app.jobs.claims import claim, ready
from app.jobs.models import Job, JobKind, JobState
from app.queue import FORGET
from tests.app import make
from tests.app.person import Person
from tests.app.test_pages import Ask, ask, tree, words  # noqa: F401 - fixtures

LEASE = timedelta(seconds=30)


def forget(person: Person, concept: str = "rex", **more: object) -> httpx.Response:
    headers = {"Idempotency-Key": str(more.pop("key"))} if "key" in more else {}
    body = {"concept": concept, **more}
    return person.ask("POST", f"/histories/{person.history_id}/forgettings", json=body, headers=headers)


def set_state(sessions: Sessions, kind: JobKind, state: JobState) -> None:
    with sessions.begin() as session:
        session.execute(update(Job).where(Job.kind == kind.value).values(state=state.value))


def test_a_forgetting_is_queued_with_what_was_asked_for(
    ada: Person,
    tree: History,  # noqa: F811
    sent: list[tuple[str, dict[str, str]]],
) -> None:
    answer = forget(ada, "<rex>", mode="exact", erase=True)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/api/v1/forgettings/{made['id']}"
    assert (made["concept"], made["mode"], made["shared"], made["erase"]) == ("rex", "exact", "kept", True)
    assert (made["job"]["kind"], made["job"]["state"], made["proof"]) == ("forget", "queued", None)
    assert sent == [(FORGET, {"job_id": made["job"]["id"]})]
    assert ada.ask("GET", f"/forgettings/{made['id']}").json() == made
    assert ada.ask("GET", f"/histories/{ada.history_id}/forgettings").json() == {"items": [made]}
    assert ada.ask("GET", "/jobs", params={"kind": "forget"}).json()["items"][0]["id"] == made["job"]["id"]


@pytest.mark.parametrize(
    ("concept", "sentence"),
    [
        ("max", "The version in use does not know <max>. It knows <rex>, <momo>."),
        ("zigi", "The version in use does not know <zigi>. Version 3 of another branch does: go to one that knows it"),
    ],
)
def test_what_head_does_not_know_cannot_be_forgotten(
    ada: Person,
    tree: History,  # noqa: F811
    concept: str,
    sentence: str,
) -> None:
    answer = forget(ada, concept)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "concept"


def test_nothing_is_forgotten_while_something_is_learned_or_forgotten(
    ada: Person,
    tree: History,  # noqa: F811
    sessions: Sessions,
) -> None:
    ada.teach("luna")
    refused = forget(ada)
    assert (refused.status_code, "being learned" in refused.json()["detail"]) == (409, True)
    set_state(sessions, JobKind.LEARN, JobState.CANCELLED)
    assert forget(ada).status_code == 202
    again = forget(ada, "momo")
    assert (again.status_code, "being forgotten" in again.json()["detail"]) == (409, True)


def test_the_same_key_starts_it_once(ada: Person, tree: History, sessions: Sessions) -> None:  # noqa: F811
    first, second = forget(ada, key="k1"), forget(ada, key="k1")
    assert first.json()["id"] == second.json()["id"]
    assert forget(ada, "momo", key="k1").status_code == 422
    with sessions() as session:
        assert len(session.scalars(select(Forgetting)).all()) == 1


def test_a_learning_asked_for_later_waits_for_the_forgetting(
    ada: Person,
    tree: History,  # noqa: F811
    sessions: Sessions,
) -> None:
    """They make versions of one history, and so take their turns."""
    job = UUID(forget(ada).json()["job"]["id"])
    later = UUID(ada.teach("luna").json()["job"]["id"])
    with sessions.begin() as session:
        assert ready(session) == [(job, FORGET)]
        assert claim(session, later, "a worker", LEASE) is None
        assert claim(session, job, "a worker", LEASE) is not None


def test_cancelling_rings_for_the_learning_that_waited(
    ada: Person,
    tree: History,  # noqa: F811
    sent: list[tuple[str, dict[str, str]]],
) -> None:
    job = forget(ada).json()["job"]["id"]
    later = ada.teach("luna").json()["job"]["id"]
    sent.clear()
    assert ada.ask("POST", f"/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert [kwargs["job_id"] for _, kwargs in sent] == [later]
    assert ada.ask("POST", f"/jobs/{job}/retry").json()["state"] == "queued"


def test_an_erasure_that_is_published_cannot_be_cancelled_and_the_list_offers_no_button_for_it(
    ada: Person,
    ask: Ask,  # noqa: F811
    tree: History,  # noqa: F811
    sessions: Sessions,
) -> None:
    """Its files would stay where they are, and nobody would ever prove that they are gone."""
    job = forget(ada, erase=True).json()["job"]["id"]
    assert f"cancel-{job}" in ask("GET", "/jobs").text
    with sessions.begin() as session:
        session.execute(update(Forgetting).values(published_at=func.now()))
    assert f"cancel-{job}" not in ask("GET", "/jobs").text
    refused = ada.ask("POST", f"/jobs/{job}/cancel")
    assert (refused.status_code, "cannot be undone" in refused.json()["detail"]) == (409, True)
    assert ada.ask("GET", f"/jobs/{job}").json()["state"] == "queued"


# --- pages ------------------------------------------------------------------------------------------------------------


def test_the_timeline_leads_to_forgetting_each_concept(ask: Ask, tree: History) -> None:  # noqa: F811
    page = ask("GET", f"/histories/{tree.id}/timeline")
    assert re.findall(r'/forget\?concept=(\w+)"', page.text) == ["rex", "momo"]


@pytest.mark.parametrize(
    ("mode", "question"),
    [(Mode.FAST, None), (Mode.EXACT, "Cancel forgetting <rex>? What was learned again so far is thrown away.")],
)
def test_cancelling_one_that_learns_again_asks_first_in_the_list_and_on_its_page(
    ask: Ask,  # noqa: F811
    tree: History,  # noqa: F811
    sessions: Sessions,
    mode: Mode,
    question: str | None,
) -> None:
    with sessions() as session:
        made = make.forgetting(session, session.get_one(History, tree.id), "rex", mode)
        session.expunge_all()
    for page in ("/jobs", f"/forgettings/{made.id}"):
        text = html.unescape(ask("GET", page).text)
        assert f'action="/jobs/{made.job_id}/cancel"' in text
        assert re.findall('data-ask="([^"]*)" data-yes="([^"]*)"', text) == (
            [(question, "Stop forgetting")] if question else []
        )


def test_the_page_says_what_forgetting_means(ask: Ask, tree: History) -> None:  # noqa: F811
    text = words(ask("GET", f"/histories/{tree.id}/forget?concept=rex"))
    for sentence in (
        "A new line of versions begins on the bare base and knows <momo>, but not rex.",
        "Fast , in a moment.",
        "a trace may be left in its values",
        "<momo> is learned again from the same pictures and captions",
        "Versions 1, 2, 3, the pictures it was taught with",
        "This cannot be undone.",
    ):
        assert sentence in text, sentence
    assert ask("GET", f"/histories/{tree.id}/forget?concept=zigi").status_code == 404


def test_every_version_of_the_name_is_among_those_to_be_erased(
    ask: Ask,  # noqa: F811
    tree: History,  # noqa: F811
    sessions: Sessions,
) -> None:
    """Such as one that was learned again, and stands beside."""
    with sessions() as session:
        make.version(session, session.get_one(History, tree.id), 9, "momo")
    assert "Versions 2, 9, the pictures" in words(ask("GET", f"/histories/{tree.id}/forget?concept=momo"))


def test_of_what_was_learned_last_there_is_nothing_to_choose(ask: Ask, tree: History) -> None:  # noqa: F811
    page = ask("GET", f"/histories/{tree.id}/forget?concept=momo")
    assert "Nothing was learned after it, so version 1 will be in use." in words(page)
    assert 'name="mode"' not in page.text


def test_the_form_leads_to_the_page_of_its_job(
    ask: Ask,  # noqa: F811
    tree: History,  # noqa: F811
    sessions: Sessions,
) -> None:
    sent = {"concept": "rex", "mode": "exact", "erase": "on", "once": "x"}
    answer = ask("POST", f"/histories/{tree.id}/forget", data=sent)
    assert answer.status_code == 303, answer.text
    with sessions() as session:
        made = session.scalars(select(Forgetting)).one()
    assert (made.mode, made.erase) == ("exact", True)
    assert answer.headers["location"] == f"/forgettings/{made.id}"
    page = ask("GET", f"/forgettings/{made.id}")
    assert "Forgetting <rex>" in words(page)
    assert f'data-job="{made.job_id}"' in page.text
    assert ask("GET", f"/jobs/{made.job_id}").headers["location"] == f"/forgettings/{made.id}"
    assert "Forgetting <rex>" in words(ask("GET", "/jobs"))
    assert "<rex> is being forgotten" in words(ask("GET", f"/histories/{tree.id}/timeline"))


def test_a_refusal_stands_in_the_form(ask: Ask, ada: Person, tree: History) -> None:  # noqa: F811
    ada.teach("luna")
    answer = ask("POST", f"/histories/{tree.id}/forget", data={"concept": "rex", "erase": "on"})
    assert answer.status_code == 409
    assert "Something is being learned in this history." in words(answer)
    assert re.search(r'name="erase" checked', answer.text)


def test_the_proof_can_be_read(
    ask: Ask,  # noqa: F811
    ada: Person,
    tree: History,  # noqa: F811
    sessions: Sessions,
) -> None:
    made = forget(ada, erase=True).json()
    proof = {
        "versions": [1, 2, 3],
        "removed": [{"sha256": "a" * 64, "what": "the delta of version 1"}],
        "still_used": [{"sha256": "b" * 64, "what": "a picture it was taught with"}],
        "files_looked_at": 7,
        "checked_at": "2026-11-26T10:00:05+00:00",
    }
    with sessions.begin() as session:
        session.execute(update(Forgetting).values(proof={"versions": [1, 2, 3]}, versions=[4], published_at=func.now()))
    set_state(sessions, JobKind.FORGET, JobState.FAILED)
    text = words(ask("GET", f"/forgettings/{made['id']}"))
    assert "Forgot <rex>" in text
    assert "That their files are gone from the storage is not proved" in text
    assert "not yet erased" in words(ask("GET", f"/histories/{tree.id}/timeline"))
    with sessions.begin() as session:
        session.execute(update(Forgetting).values(proof=proof))
    set_state(sessions, JobKind.FORGET, JobState.DONE)
    text = words(ask("GET", f"/forgettings/{made['id']}"))
    assert "Versions 1, 2, 3 are gone, and with them 1 file." in text
    assert "On 26 November 2026, 10:00:05 UTC none of them was among the 7 files in the storage" in text
    assert "a" * 64 in text
    assert "a picture it was taught with" in text
    shown = ada.ask("GET", f"/forgettings/{made['id']}").json()
    assert (shown["proof"]["removed"], shown["versions"]) == (proof["removed"], [4])
    assert "erased with proof" in words(ask("GET", f"/histories/{tree.id}/timeline"))
