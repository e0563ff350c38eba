"""Everything belongs to a user, and to anybody else it is not there: over every route that takes an id."""

import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app import blobs
from app.concepts.models import ConceptPicture
from app.db import Sessions
from app.generations.models import Image
from app.histories.models import History
from app.jobs.models import JobSample
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person, painted, png

BODIES = {
    "/histories/{history_id}": {"json": {"name": "mine now"}},
    "/histories/{history_id}/head": {"json": {"version": 0}},
    "/histories/{history_id}/versions/{number}": {"json": {"label": "mine now"}},
    "/histories/{history_id}/versions/{number}/again": {"json": {"signature": "bleeding"}},
    "/histories/{history_id}/generations": {"json": {"prompt": "a mug"}},
    "/histories/{history_id}/concepts": {
        "data": {"name": "x", "class_noun": "dog"},
        "files": [("pictures", ("x.png", png(), "image/png"))],
    },
    "/histories/{history_id}/forgettings": {"json": {"concept": "momo"}},
    "/users/{user_id}": {"json": {"disabled": True}},
}
IN_QUERY = {
    "/api/v1/images.zip": ("id", "image_id"),
    "/api/v1/events": ("job", "job_id"),
}  # ids that are no part of a path
ADMINISTRATORS = ("/users/{user_id}",)  # 403 to everybody else, whether there is such a user or not


def routes_with_ids(app: FastAPI) -> Iterator[tuple[str, str]]:
    for path, methods in app.openapi()["paths"].items():
        if "{" in path or path in IN_QUERY:
            for method in methods:
                yield method.upper(), path.removeprefix("/api/v1")


def query_of(path: str, things: dict[str, str]) -> dict[str, dict[str, str]]:
    name, thing = IN_QUERY.get(f"/api/v1{path}", ("", ""))
    return {"params": {name: things[thing]}} if name else {}


@pytest.fixture
def things(ada: Person, sessions: Sessions, store: BlobStore) -> dict[str, str]:
    """One of everything of Ada's, by the names that routes give their ids."""
    job = ada.teach("rex").json()["job"]
    asked = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a mug"}).json()
    key = ada.ask("POST", "/api-keys", json={"name": "second"}).json()
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        make.version(session, history, 1, "momo")
        digest = blobs.keep(session, store, painted(), "image/png")
        image = Image(generation_id=asked["id"], position=0, seed=0, blob_sha256=digest, width_px=80, height_px=72)
        session.add_all([image, JobSample(job_id=job["id"], step=0, blob_sha256=digest)])
        session.commit()
        picture = session.scalars(select(ConceptPicture)).first()
        assert picture is not None
        return {
            "history_id": str(ada.history_id),
            "number": "1",
            "job_id": job["id"],
            "step": "0",
            "concept_id": job["concept_id"],
            "picture_id": str(picture.id),
            "generation_id": asked["id"],
            "image_id": str(image.id),
            "forgetting_id": str(make.forgetting(session, history, "momo").id),
            "key_id": key["id"],
            "user_id": str(ada.id),
        }


def test_a_second_user_finds_nothing_of_the_first(ada: Person, bob: Person, things: dict[str, str]) -> None:
    routes = list(routes_with_ids(ada.client.app))  # type: ignore[arg-type]
    assert len(routes) > 25
    for method, path in routes:
        address = re.sub(r"\{(\w+)\}", lambda found: things[found[1]], path)
        options = {} if method == "GET" else BODIES.get(path, {})
        options |= query_of(path, things)
        answer = bob.ask(method, address, **options)
        wanted = 403 if path in ADMINISTRATORS else 404
        assert answer.status_code == wanted, f"{method} {path}: {answer.status_code} {answer.text[:200]}"
    assert len(bob.ask("GET", "/jobs").json()["items"]) == 0
    assert len(bob.ask("GET", "/jobs", params={"everybody": True}).json()["items"]) == 0
    assert len(bob.ask("GET", "/images").json()["items"]) == 0


def test_their_owner_finds_them_all(ada: Person, things: dict[str, str]) -> None:
    """Or else the walk above would prove nothing."""
    for method, path in routes_with_ids(ada.client.app):  # type: ignore[arg-type]
        if method != "GET" or path.endswith(("/delta", "/events")):
            continue  # a delta without bytes behind it, and a stream that lasts as long as its job
        address = re.sub(r"\{(\w+)\}", lambda found: things[found[1]], path)
        answer = ada.ask(method, address, **query_of(path, things))
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:200]}"


def test_nobody_gets_anything_without_logging_in(ada: Person, things: dict[str, str]) -> None:
    for method, path in routes_with_ids(ada.client.app):  # type: ignore[arg-type]
        address = re.sub(r"\{(\w+)\}", lambda found: things[found[1]], path)
        options = {} if method == "GET" else BODIES.get(path, {})
        options |= query_of(path, things)
        assert ada.client.request(method, f"/api/v1{address}", **options).status_code == 401, f"{method} {path}"
