"""How often a route asks the database: most of what it takes, in a figure that does not depend on the machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import redis
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from app.accounts.models import User
from app.accounts.service import log_in
from app.db import Sessions, UnitOfWork
from app.deps import SESSION_COOKIE
from app.generations.models import Generation
from app.histories.models import History, Version
from app.jobs.models import Job, JobKind, JobState
from app.security import hash_password
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person, painted

PASSWORD = "opens the door"  # noqa: S105 - of a database that is empty a moment later


@dataclass(frozen=True)
class Place:
    """What there is to look at. job: one that made the image; waiting: one that does not have its picture yet."""

    history: UUID
    image: UUID
    job: UUID
    waiting: UUID


def asked(session: Session, history: History, version: Version, state: JobState) -> Generation:
    job = Job(owner_id=history.owner_id, history_id=history.id, kind=JobKind.GENERATE.value, state=state.value)
    session.add(job)
    session.flush()
    made = Generation(
        history_id=history.id,
        job_id=job.id,
        version_id=version.id,
        prompt="a photo of a <rex> dog",
        seed=1,
        count=1,
        steps=20,
        guidance=4.0,
        sampler="ddim",
        width_px=64,
        height_px=64,
    )
    session.add(made)
    session.commit()
    return made


def furnish(session: Session, store: BlobStore, person: Person, times: int) -> Place:
    """`times` of everything: histories, versions, requests that are done, with a picture each, and such that wait."""
    owner = session.get_one(User, person.id)
    for number in range(times):
        history = make.history(session, owner, f"notebook {number}")
        parent = None
        for place in range(times):
            version = make.version(session, history, place + 1, f"rex{place}", parent)
            parent = version.id
        history.head_id = parent
        session.commit()
        for _ in range(times):
            done = asked(session, history, version, JobState.DONE)
            image = make.image(session, store, done.id, painted(len(str(done.id))))
            waiting = asked(session, history, version, JobState.QUEUED)
    return Place(history.id, image.id, done.job_id, waiting.job_id)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Those that any engine of this process sends within the block."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def counts(person: Person, sessions: Sessions, place: Place) -> Mapping[str, int]:
    """Name of a route -> statements of its second request: the first one notes that the caller was seen."""
    with sessions() as session:
        session.get_one(User, person.id).password_hash = hash_password(PASSWORD)
        session.commit()
    _, cookie = log_in(UnitOfWork(sessions, lambda *_args, **_kwargs: None), person.name, PASSWORD, days=1)
    program, browser = {"Authorization": f"Bearer {person.key}"}, {"Cookie": f"{SESSION_COOKIE}={cookie}"}
    api, history, image = "/api/v1", f"/histories/{place.history}", f"/images/{place.image}"
    visits = {
        "GET job": (f"{api}/jobs/{place.job}", program),
        "GET job that waits": (f"{api}/jobs/{place.waiting}", program),
        "GET jobs": (f"{api}/jobs", program),
        "GET history": (f"{api}{history}", program),
        "GET histories": (f"{api}/histories", program),
        "GET versions": (f"{api}{history}/versions", program),
        "GET generations": (f"{api}{history}/generations", program),
        "GET images": (f"{api}/images", program),
        "GET file": (f"{api}{image}/file", program),
        "thumbnail": (f"{api}{image}/thumbnail", browser),
        "studio": (history, browser),
        "timeline": (f"{history}/timeline", browser),
        "gallery": ("/gallery", browser),
        "histories": ("/histories", browser),
        "jobs": ("/jobs", browser),
        "image page": (image, browser),
    }
    found = {}
    for name, (path, headers) in visits.items():
        person.client.cookies.clear()
        assert person.client.get(path, headers=headers).status_code == 200, name
        with statements() as sent:
            person.client.get(path, headers=headers)
        found[name] = len(sent)
    return found


MOST = {
    "GET job": 3,
    "GET job that waits": 8,
    "GET jobs": 8,
    "GET history": 3,
    "GET histories": 3,
    "GET versions": 4,
    "GET generations": 10,
    "GET images": 2,
    "GET file": 2,
    "thumbnail": 2,
    "studio": 14,
    "timeline": 9,
    "gallery": 5,
    "histories": 7,
    "jobs": 9,
    "image page": 6,
}


def test_a_route_asks_no_more_often_for_many_rows_than_for_one(
    ada: Person, bob: Person, sessions: Sessions, store: BlobStore
) -> None:
    with sessions() as session:
        few, many = furnish(session, store, ada, 1), furnish(session, store, bob, 3)
    assert counts(ada, sessions, few) == MOST
    assert counts(bob, sessions, many) == MOST


def test_whoever_asks_is_looked_up_by_one_statement_and_counted_by_one_command(
    ada: Person, redis_url: str, sessions: Sessions
) -> None:
    ada.ask("GET", "/me")
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        with statements() as sent:
            assert ada.ask("GET", f"/histories/{ada.history_id}").status_code == 200
        ran = client.info("commandstats")
    assert ["FROM api_keys" in " ".join(one.split()) for one in sent] == [True, False, False]
    assert ran["cmdstat_evalsha"]["calls"] == 1


def test_a_key_is_refused_by_the_request_after_it_was_revoked(ada: Person) -> None:
    (key,) = ada.ask("GET", "/api-keys").json()["items"]
    assert ada.ask("DELETE", f"/api-keys/{key['id']}").status_code == 204
    assert ada.ask("GET", "/me").status_code == 401
