"""What administrators do, and how much everybody may keep."""

import re

import pytest
from fastapi.testclient import TestClient

from app import blobs
from app.accounts import service
from app.accounts.browsers import browser_called
from app.accounts.usage import bytes_of, bytes_of_everybody
from app.config import Settings
from app.db import Sessions, UnitOfWork
from app.generations.models import Image
from app.main import create_app
from app.new_password import give_new_password
from app.servers import Servers
from app.storage import BlobStore
from tests.app.person import Person, make_person, png

OPENS = "a long enough one"
OTHER = "another long one"
SHORT = "short"


@pytest.fixture
def uow(sessions: Sessions) -> UnitOfWork:
    return UnitOfWork(sessions, lambda *_args, **_kwargs: None)


@pytest.fixture
def admin(client: TestClient, uow: UnitOfWork) -> TestClient:
    """An administrator's browser."""
    service.create_user(uow, "root", OPENS, is_admin=True)
    client.headers.update({"Accept": "text/html"})
    token = token_in(client.get("/login").text)
    client.post("/login", data={"csrf_token": token, "name": "root", "password": OPENS})
    return client


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, page[:500]
    return found[1]


def send(browser: TestClient, path: str, **data: str) -> tuple[int, str]:
    answer = browser.post(path, data={"csrf_token": token_in(browser.get("/users").text), **data})
    return answer.status_code, answer.text


def test_an_administrator_lets_people_in_and_locks_them_out(admin: TestClient, uow: UnitOfWork) -> None:
    assert send(admin, "/users", name="grace", password=OPENS)[0] == 200
    status, page = send(admin, "/users", name="Grace", password=OPENS)
    assert (status, "There is a user named Grace already." in page) == (409, True)
    user, _ = service.log_in(uow, "grace", OPENS, days=1)
    assert "locked out" in send(admin, f"/users/{user.id}/lock")[1]
    with pytest.raises(service.Unauthorized):
        service.log_in(uow, "grace", OPENS, days=1)
    send(admin, f"/users/{user.id}/unlock")
    assert service.log_in(uow, "grace", OPENS, days=1)


def test_a_forgotten_password_is_set_anew(admin: TestClient, uow: UnitOfWork, sessions: Sessions) -> None:
    user = service.create_user(uow, "grace", OPENS)
    _, token = service.log_in(uow, "grace", OPENS, days=1)
    status, page = send(admin, f"/users/{user.id}/password", password=SHORT)
    assert (status, "at least 10 characters" in page) == (422, True)
    assert send(admin, f"/users/{user.id}/password", password=OTHER)[0] == 200
    with sessions() as session:
        assert service.find_by_session(session, token) is None
    assert service.log_in(uow, "grace", OTHER, days=1)


def test_a_quota_is_set_in_gigabytes_and_taken_back(admin: TestClient, uow: UnitOfWork, sessions: Sessions) -> None:
    user = service.create_user(uow, "grace", OPENS)

    def quota() -> int | None:
        with sessions() as session:
            return session.get_one(service.User, user.id).quota_bytes

    send(admin, f"/users/{user.id}/quota", gigabytes="1.5")
    assert quota() == 1_500_000_000
    status, page = send(admin, f"/users/{user.id}/quota", gigabytes="much")
    assert (status, "must be a number" in page) == (422, True)
    send(admin, f"/users/{user.id}/quota", gigabytes="")
    assert quota() is None


def test_the_server_page_says_what_is_there(admin: TestClient, ada: Person) -> None:
    ada.teach("rex")
    page = admin.get("/server").text
    assert "database" in page
    assert "No worker is there" in page
    assert "a tiny base" in page


def test_those_pages_are_for_administrators_alone(client: TestClient, uow: UnitOfWork) -> None:
    service.create_user(uow, "grace", OPENS)
    client.headers.update({"Accept": "text/html"})
    token = token_in(client.get("/login").text)
    client.post("/login", data={"csrf_token": token, "name": "grace", "password": OPENS})
    assert [client.get(path).status_code for path in ("/users", "/server", "/account")] == [403, 403, 200]


def test_an_administrator_changes_people_over_rest(ada: Person, admin: TestClient, uow: UnitOfWork) -> None:
    token = token_in(admin.get("/users").text)
    changed = admin.patch(
        f"/api/v1/users/{ada.id}", json={"quota_bytes": 5, "disabled": True}, headers={"X-CSRF-Token": token}
    ).json()
    assert changed["quota_bytes"] == 5
    assert changed["disabled_at"]
    changed = admin.patch(f"/api/v1/users/{ada.id}", json={"disabled": False}, headers={"X-CSRF-Token": token}).json()
    assert (changed["quota_bytes"], changed["disabled_at"]) == (5, None)


def test_who_keeps_as_much_as_they_may_starts_nothing_new(config: Settings, sessions: Sessions) -> None:
    small = config.model_copy(update={"user_quota_bytes": 1000})
    with TestClient(create_app(small, lambda *_args, **_kwargs: None)) as client:
        person = make_person(client, sessions, "ada")
        assert person.teach("rex").status_code == 202
        refused = person.teach("momo")
        assert refused.status_code == 403
        assert "of the 1 kB that you may keep" in refused.json()["detail"]
        assert person.ask("GET", "/jobs").status_code == 200
        used = person.ask("GET", "/usage").json()
        assert used["bytes"] > used["quota_bytes"] == 1000
        assert (used["histories"], used["versions"], used["open_jobs"]) == (1, 0, 1)


def test_the_same_bytes_count_once_for_each_who_keeps_them(
    ada: Person, bob: Person, sessions: Sessions, store: BlobStore
) -> None:
    with sessions() as session:
        digest = blobs.keep(session, store, png(), "image/png")
        for person in (ada, ada, bob):
            asked = person.ask("POST", f"/histories/{person.history_id}/generations", json={"prompt": "a mug"}).json()
            session.add(
                Image(generation_id=asked["id"], position=0, seed=0, blob_sha256=digest, width_px=8, height_px=8)
            )
        session.commit()
        size = len(png())
        assert bytes_of(session, ada.id) == size
        assert bytes_of_everybody(session) == {ada.id: size, bob.id: size}


def test_who_runs_the_server_gives_a_new_password_by_a_command(
    uow: UnitOfWork, sessions: Sessions, servers: Servers
) -> None:
    service.create_user(uow, "root", OPENS, is_admin=True)
    _, token = service.log_in(uow, "root", OPENS, days=1)
    password = give_new_password(servers.database_url, "Root")
    assert password
    assert service.log_in(uow, "root", password, days=1)
    with sessions() as session:
        assert service.find_by_session(session, token) is None
    assert give_new_password(servers.database_url, "nobody") is None


def test_browsers_are_called_as_their_owners_call_them() -> None:
    edge = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0"
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1 Version/19.0 Safari/604.1"
    assert browser_called(edge) == "Edge on Windows"
    assert browser_called(phone) == "Safari on iPhone"
    assert browser_called("curl/8") == "curl/8"
    assert browser_called("") == "A browser without a name"
