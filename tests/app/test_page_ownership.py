"""Pages too: whoever is logged in as somebody else finds nothing of the first, over every route that takes an id."""

import re
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import select

from app import blobs
from app.accounts.models import LoginSession, User
from app.accounts.service import now
from app.concepts.models import ConceptPicture, Upload
from app.db import Sessions
from app.generations.models import Generation, Image
from app.histories.models import History
from app.jobs.models import JobSample
from app.security import digest_of
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person, png

FORMS = {
    "/histories/{history_id}/generations": {"prompt": "a mug"},
    "/histories/{history_id}/rename": {"name": "mine now"},
    "/histories/{history_id}/delete": {"name": "pets"},
    "/histories/{history_id}/head": {"version": "0"},
    "/histories/{history_id}/teach": {"name": "x", "class_noun": "dog"},
    "/histories/{history_id}/versions/{number}/label": {"label": "mine now"},
    "/histories/{history_id}/forget": {"concept": "momo"},
    "/histories/{history_id}/compare": {"left": "0", "right": "1", "prompt": "a mug", "seed": "1"},
}
ADMINISTRATORS = ("/users/{user_id}/{change}",)


def routes_with_ids(app: FastAPI) -> Iterator[tuple[str, str]]:
    for route in iter_route_contexts(app.routes):
        path = route.path or ""
        if "{" in path and not path.startswith(("/api/", "/v1/")):  # what is there is for programs
            for method in route.methods or ():
                if method in ("GET", "POST"):
                    yield method, path


def log_in(client: TestClient, sessions: Sessions, user_id: UUID, token: str) -> None:
    with sessions() as session:
        made = LoginSession(
            user_id=user_id, token_sha256=digest_of(token), csrf_token=token, expires_at=now() + timedelta(days=1)
        )
        session.add(made)
        session.commit()
    client.cookies.set("palimpsest_session", token)
    client.headers.update({"X-CSRF-Token": token, "Accept": "text/html"})


@pytest.fixture
def things(ada: Person, sessions: Sessions, store: BlobStore) -> dict[str, str]:
    """One of everything of Ada's, by the names that pages give their ids."""
    job = ada.teach("rex").json()["job"]
    asked = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a mug"}).json()
    with sessions() as session:
        make.version(session, session.get_one(History, ada.history_id), 1, "momo")
        digest = blobs.keep(session, store, png(), "image/png")
        image = Image(generation_id=asked["id"], position=0, seed=0, blob_sha256=digest, width_px=80, height_px=72)
        upload = Upload(owner_id=ada.id, blob_sha256=digest, file_name="x.png", width_px=80, height_px=72)
        lasts = now() + timedelta(days=1)
        seen = LoginSession(user_id=ada.id, token_sha256=make.UNHASHED, csrf_token=make.UNHASHED, expires_at=lasts)
        session.add_all([image, upload, seen, JobSample(job_id=job["id"], step=0, blob_sha256=digest)])
        session.commit()
        picture = session.scalars(select(ConceptPicture)).first()
        assert picture is not None
        return {
            "history_id": str(ada.history_id),
            "number": "1",
            "job_id": job["id"],
            "step": "0",
            "name": "rex",
            "change": "lock",
            "concept_id": job["concept_id"],
            "picture_id": str(picture.id),
            "generation_id": asked["id"],
            "image_id": str(image.id),
            "forgetting_id": str(make.forgetting(session, session.get_one(History, ada.history_id), "momo").id),
            "upload_id": str(upload.id),
            "session_id": str(seen.id),
            "key_id": ada.ask("GET", "/api-keys").json()["items"][0]["id"],
            "user_id": str(ada.id),
        }


def test_a_second_user_sees_no_page_of_the_first_and_changes_nothing(
    ada: Person, bob: Person, things: dict[str, str], sessions: Sessions
) -> None:
    browser = ada.client
    log_in(browser, sessions, bob.id, "b" * 40)
    routes = list(routes_with_ids(browser.app))  # type: ignore[arg-type]
    assert len(routes) > 20
    for method, path in routes:
        address = re.sub(r"\{(\w+)\}", lambda found: things[found[1]], path)
        data = FORMS.get(path) if method == "POST" else None
        answer = browser.request(method, address, data=data, follow_redirects=False)
        wanted = 403 if path in ADMINISTRATORS else 404
        assert answer.status_code == wanted, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
    browser.post("/gallery/delete", data={"id": things["image_id"]})
    for page in ("/", "/histories", "/gallery", "/jobs", "/jobs?everybody=true", "/account"):
        text = browser.get(page).text
        assert not [value for value in things.values() if len(value) > 30 and value in text], page
    with sessions() as session:
        assert session.get(Image, UUID(things["image_id"])) is not None
        assert session.get_one(History, ada.history_id).name == "pets"
        assert len(session.scalars(select(Generation)).all()) == 1
        assert session.get_one(User, ada.id).disabled_at is None


def test_nobody_sees_a_page_without_logging_in(ada: Person, things: dict[str, str]) -> None:
    ada.client.headers.update({"Accept": "text/html"})
    for method, path in routes_with_ids(ada.client.app):  # type: ignore[arg-type]
        address = re.sub(r"\{(\w+)\}", lambda found: things[found[1]], path)
        answer = ada.client.request(method, address, data=FORMS.get(path), follow_redirects=False)
        if method == "GET":
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login?next="), path
        else:
            assert answer.status_code in (401, 403), path
