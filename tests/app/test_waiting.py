"""What those who wait are told: from measured steps, the turns of owners, and the two shares of the device."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from app.db import Sessions
from app.histories.models import BaseModelRow, History
from app.jobs.models import Job, JobState
from app.jobs.waiting import seconds_until_done
from tests.app import make
from tests.app.person import Person


def test_who_is_alone_waits_for_their_own_work_up_to_it() -> None:
    assert seconds_until_done(5, [], 0, 0.5) == 5
    assert seconds_until_done(5, [], 0, 0.5, devices=2) == 2.5


def test_another_owner_gets_as_much_meanwhile_and_no_more_than_they_want() -> None:
    assert seconds_until_done(4, [100], 0, 0.5) == 8
    assert seconds_until_done(4, [1, 100], 0, 0.5) == 9


def test_what_is_in_the_other_share_takes_its_part_as_long_as_it_lasts() -> None:
    assert seconds_until_done(3, [], 100, 0.75) == pytest.approx(4)
    assert seconds_until_done(3, [], 0.5, 0.75) == pytest.approx(3.5)


def measure(sessions: Sessions, row_seconds: dict[str, float] | None = None, **seconds_per_step: float) -> None:
    """As a worker reports it."""
    with sessions.begin() as session:
        row = session.get_one(BaseModelRow, make.BASE_ID)
        row.facts = {**row.facts, "seconds_per_step": seconds_per_step, "learning_share": 0.5}
        row.facts |= {"row_seconds": row_seconds or {}}


def test_pictures_that_wait_say_how_long(ada: Person, sessions: Sessions) -> None:
    unknown = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a dog"}).json()
    assert unknown["job"]["seconds_left"] is None  # no worker has taken a step yet
    measure(sessions, generating=0.1)
    path = f"/histories/{ada.history_id}/generations"
    told = [
        ada.ask("POST", path, json={"prompt": "a dog", "steps": 10, **more}).json()
        for more in ({"count": 2}, {"guidance": 1.0}, {"deadline_s": 30})
    ]
    earlier = unknown["steps"] * 0.1
    assert told[0]["job"]["seconds_left"] == pytest.approx(earlier + 2.0)
    assert told[1]["job"]["seconds_left"] == pytest.approx(earlier + 2.5)
    assert told[2]["job"]["seconds_left"] == pytest.approx(1.0)  # it goes first
    assert told[2]["job"]["deadline_at"] > told[2]["job"]["created_at"]
    shown = ada.ask("GET", f"/jobs/{told[0]['job']['id']}").json()
    assert shown["seconds_left"] == pytest.approx(earlier + 3.0)  # now that something goes before it


def test_pages_say_it_of_pictures_and_of_learnings(ada: Person, sessions: Sessions) -> None:
    measure(sessions, generating=3.0, learning=0.3)
    ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a dog", "steps": 10})
    learning = ada.teach("rex").json()["job"]["id"]
    headers = {"Authorization": f"Bearer {ada.key}", "Accept": "text/html"}
    pages = {path: ada.client.get(path, headers=headers).text for path in ("/jobs", f"/histories/{ada.history_id}")}
    pages["learning"] = ada.client.get(f"/jobs/{learning}", headers=headers).text
    assert [page.count("until it is done") for page in pages.values()] == [2, 1, 1]


def test_a_deadline_lies_ahead_and_not_too_far(ada: Person) -> None:
    for deadline_s in (0, -1, 10**9):
        asked = {"prompt": "a dog", "deadline_s": deadline_s}
        assert ada.ask("POST", f"/histories/{ada.history_id}/generations", json=asked).status_code == 422


def test_pictures_that_go_together_take_less_each(ada: Person, sessions: Sessions) -> None:
    measure(sessions, row_seconds={"2": 0.05, "8": 0.02}, generating=9.0)
    path = f"/histories/{ada.history_id}/generations"
    told = [ada.ask("POST", path, json={"prompt": "a dog", "steps": 10}).json()["job"]["seconds_left"] for _ in "12"]
    assert told == [pytest.approx(1.0), pytest.approx(0.8)]  # two are done together sooner than one after another


def test_others_are_counted_up_to_ones_own_share_and_learning_beside(
    ada: Person, bob: Person, sessions: Sessions
) -> None:
    measure(sessions, generating=0.1, learning=0.001)
    for _ in range(3):
        bob.ask("POST", f"/histories/{bob.history_id}/generations", json={"prompt": "a dog", "steps": 50})
    path = f"/histories/{ada.history_id}/generations"
    told = ada.ask("POST", path, json={"prompt": "a dog", "steps": 10}).json()["job"]
    assert told["seconds_left"] == pytest.approx(2.0)  # as much for him, who wants more
    small = ada.ask("POST", path, json={"prompt": "a dog", "steps": 10, "guidance": 1, "width_px": 32}).json()["job"]
    assert small["seconds_left"] == pytest.approx(2.5)  # a quarter of the first one, twice
    assert bob.teach("rex").json()["job"]["seconds_left"] == pytest.approx(0.4)  # 0.2 of the device, and half of it
    assert ada.ask("GET", f"/jobs/{told['id']}").json()["seconds_left"] == pytest.approx(2.2)


def test_a_learning_that_waits_counts_what_is_beside_its_steps(ada: Person, sessions: Sessions) -> None:
    measure(sessions, learning=0.01)
    told = ada.teach("rex").json()["job"]
    assert told["seconds_left"] == pytest.approx(2.0)  # 200 steps
    with sessions() as session:
        learned = make.version(session, session.get_one(History, ada.history_id), 1, "momo")
        learned.seconds = {"captions": 0.5, "selection": 0.3, "learning": 70.0, "diagnosis": 4.2}
        session.commit()
    assert ada.ask("GET", f"/jobs/{told['id']}").json()["seconds_left"] == pytest.approx(7.0)


def test_what_was_said_at_the_asking_is_kept(ada: Person, sessions: Sessions) -> None:
    measure(sessions, generating=0.1, learning=0.01)
    asked = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a dog", "steps": 10}).json()
    taught = ada.teach("rex").json()
    with sessions() as session:
        kept = {job.kind: job.estimated_s for job in session.scalars(select(Job))}
    assert kept == {"generate": asked["job"]["seconds_left"], "learn": taught["job"]["seconds_left"]}


def finish(sessions: Sessions, job_id: str, told_s: float | None, real_s: float) -> None:
    with sessions.begin() as session:
        session.execute(
            update(Job)
            .where(Job.id == UUID(job_id))
            .values(
                state=JobState.DONE.value,
                estimated_s=told_s,
                created_at=func.now() - timedelta(seconds=real_s),
                finished_at=func.now(),
            )
        )


def test_how_wrong_estimates_were_is_in_the_metrics(ada: Person, sessions: Sessions) -> None:
    path = f"/histories/{ada.history_id}/generations"
    for told_s, real_s in ((10.0, 10.0), (6.0, 10.0), (40.0, 10.0), (None, 10.0)):
        finish(sessions, ada.ask("POST", path, json={"prompt": "a dog"}).json()["job"]["id"], told_s, real_s)
    finish(sessions, ada.teach("rex").json()["job"]["id"], 50.0, 100.0)
    numbers = ada.client.get("/metrics").text.splitlines()
    series = "palimpsest_estimate_error_ratio"
    for line in (
        f'{series}_bucket{{kind="generate",le="0.1"}} 1.0',
        f'{series}_bucket{{kind="generate",le="0.5"}} 2.0',
        f'{series}_bucket{{kind="generate",le="5.0"}} 3.0',
        f'{series}_bucket{{kind="generate",le="+Inf"}} 3.0',
        f'{series}_count{{kind="generate"}} 3.0',
        f'{series}_sum{{kind="generate"}} 3.4',
        f'{series}_sum{{kind="learn"}} 0.5',
    ):
        assert line in numbers
