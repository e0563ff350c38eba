"""What those who wait are told: from measured steps, the turns of owners, and the two shares of the device."""

from datetime import timedelta
from math import inf
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from app.db import Sessions
from app.histories.models import BaseModelRow, History
from app.jobs.models import Job, JobState
from app.jobs.waiting import Work, seconds_until_done
from tests.app import make
from tests.app.person import Person

ADA, BEN = uuid4(), uuid4()


def work(owner: UUID, seconds: float, place: int = 0, learns: bool = False, deadline: float = inf) -> Work:
    return Work(uuid4(), owner, learns, (deadline, place), seconds)


def test_who_is_alone_waits_for_their_own_work_up_to_it() -> None:
    first, mine, later = work(ADA, 3, 1), work(ADA, 2, 2), work(ADA, 9, 3)
    assert seconds_until_done(mine, [first, mine, later], 0.5) == 5
    assert seconds_until_done(mine, [first, mine, later], 0.5, devices=2) == 2.5


def test_a_nearer_deadline_comes_before_an_owners_older_work() -> None:
    first, mine = work(ADA, 3, 1), work(ADA, 2, 2, deadline=1000.0)
    assert seconds_until_done(mine, [first, mine], 0.5) == 2
    assert seconds_until_done(first, [first, mine], 0.5) == 5


def test_another_owner_gets_as_much_meanwhile_and_no_more_than_they_want() -> None:
    mine = work(ADA, 4, 5)
    assert seconds_until_done(mine, [mine, work(BEN, 100, 1)], 0.5) == 8
    assert seconds_until_done(mine, [mine, work(BEN, 1, 1)], 0.5) == 5


def test_learning_beside_takes_its_share_as_long_as_it_lasts() -> None:
    mine = work(ADA, 3)
    assert seconds_until_done(mine, [mine, work(BEN, 100, learns=True)], 0.25) == pytest.approx(4)
    assert seconds_until_done(mine, [mine, work(BEN, 0.5, learns=True)], 0.25) == pytest.approx(3.5)
    learning = work(BEN, 3, learns=True)
    assert seconds_until_done(learning, [learning, work(ADA, 100)], 0.25) == pytest.approx(12)


def measure(sessions: Sessions, **seconds_per_step: float) -> None:
    """As a worker reports it."""
    with sessions.begin() as session:
        row = session.get_one(BaseModelRow, make.BASE_ID)
        row.facts = {**row.facts, "seconds_per_step": seconds_per_step, "learning_share": 0.5}


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
