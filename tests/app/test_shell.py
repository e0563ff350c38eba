"""What surrounds every request: health, headers, limits, numbers, and no weight."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, text
from sqlalchemy.exc import DBAPIError
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from app.config import Settings, with_secret_files
from app.db import Sessions
from app.generations import service as generations
from app.histories.models import History
from app.logs import hide_secrets
from app.main import create_app
from tests.app.person import Person, make_person

ROOT = Path(__file__).resolve().parents[2]


def test_the_web_process_imports_nothing_heavy() -> None:
    code = "import app.main, sys; print([n for n in ('torch', 'diffusers', 'transformers', 'cns') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_it_is_alive_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok"
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)


def test_a_broker_that_is_away_makes_it_unready_but_not_dead(config: Settings, sessions: Sessions) -> None:
    away = config.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with TestClient(create_app(away, lambda *_args, **_kwargs: None)) as client:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["database"] == "ok"
        assert "cannot be reached" in ready.json()["broker"]
        person = make_person(client, sessions, "ada")
        assert person.ask("GET", "/histories").status_code == 200  # rates are not counted, and nobody is locked out


def test_a_learning_is_taken_while_the_broker_is_away(config: Settings, sessions: Sessions) -> None:
    """The row is the truth: the worker's sweep finds it."""
    away = config.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with TestClient(create_app(away)) as client:
        started = time.monotonic()
        assert make_person(client, sessions, "ada").teach("rex").status_code == 202
        assert time.monotonic() - started < 20


def test_a_broker_that_takes_the_line_and_says_nothing_holds_nobody_up_for_long(
    config: Settings, sessions: Sessions
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = config.model_copy(update={"redis_url": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"})
        with TestClient(create_app(mute, lambda *_args, **_kwargs: None)) as client:
            person = make_person(client, sessions, "ada")
            started = time.monotonic()
            assert person.ask("GET", "/me").status_code == 200
            assert time.monotonic() - started < 4


def test_a_database_that_is_away_is_a_sentence_with_503(config: Settings) -> None:
    away = config.model_copy(update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/nothing"})
    with TestClient(create_app(away, lambda *_args, **_kwargs: None), raise_server_exceptions=False) as client:
        answer = client.get("/api/v1/me", headers={"Authorization": "Bearer pk_x"})
        assert answer.status_code == 503
        assert answer.json()["detail"] == "The database cannot be reached. Try again in a moment."


def test_every_answer_has_headers_that_keep_browsers_careful(client: TestClient) -> None:
    for path in ("/healthz", "/api/v1/me", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"]


def test_a_number_given_by_a_proxy_is_kept_when_it_is_sane(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/healthz", headers={"X-Request-ID": "a b\tc"}).headers["x-request-id"] != "a b\tc"


def _number(lines: list[str], series: str) -> float:
    return sum(float(line.removeprefix(series)) for line in lines if line.startswith(series))


def test_metrics_count_requests_by_pattern_and_jobs_by_state(ada: Person) -> None:
    counted = 'palimpsest_requests_total{{method="GET",route="{}/histories/{{history_id}}",status="200"}} '
    rest, page = counted.format("/api/v1"), counted.format("")
    ada.teach("rex")
    before = ada.client.get("/metrics").text.splitlines()
    ada.ask("GET", f"/histories/{ada.history_id}")
    numbers = ada.client.get("/metrics").text.splitlines()
    assert 'palimpsest_jobs{kind="learn",state="queued"} 1.0' in numbers
    assert not [line for line in numbers if str(ada.history_id) in line]
    assert _number(numbers, rest) == _number(before, rest) + 1
    assert _number(numbers, page) == _number(before, page)  # the page of the same name is another route


def test_metrics_show_what_this_process_counted_while_the_database_is_away(config: Settings) -> None:
    away = config.model_copy(update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/nothing"})
    with TestClient(create_app(away, lambda *_args, **_kwargs: None), raise_server_exceptions=False) as client:
        assert client.get("/api/v1/me", headers={"Authorization": "Bearer pk_x"}).status_code == 503
        answer = client.get("/metrics")
    assert answer.status_code == 200
    numbers = answer.text.splitlines()
    assert _number(numbers, 'palimpsest_requests_total{method="GET",route="/api/v1/me",status="503"} ') >= 1
    assert not [line for line in numbers if line.startswith("palimpsest_jobs")]


def test_a_method_that_somebody_made_up_makes_no_new_series(client: TestClient) -> None:
    for method in ("BREW", "WHEN"):
        assert client.request(method, "/healthz").status_code == 405
    numbers = client.get("/metrics").text
    assert 'method="other",route="/healthz"' in numbers
    assert "BREW" not in numbers


def test_the_log_ties_a_job_to_the_request_that_asked_for_it(config: Settings, sessions: Sessions) -> None:
    app = create_app(config.model_copy(update={"log_level": "INFO"}), lambda *_args, **_kwargs: None)
    with TestClient(app) as client, capture_logs([merge_contextvars]) as lines:
        answer = make_person(client, sessions, "ada").teach("rex")
    [rang] = [line for line in lines if line["event"] == "rang"]
    assert rang["job_id"] == answer.json()["job"]["id"]
    assert rang["request_id"] == answer.headers["x-request-id"]


def test_errors_of_the_database_do_not_tell_what_was_sent_to_it(sessions: Sessions) -> None:
    with sessions() as session, pytest.raises(DBAPIError) as broken:
        session.execute(text("SELECT 1 / length(:secret) - length(:secret) / 0"), {"secret": "a prompt of mine"})
    assert "a prompt of mine" not in str(broken.value)


def test_two_changes_that_meet_are_told_apart(ada: Person, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history is deleted between the look at it and the commit of what was to go into it."""

    def deleted_meanwhile(*_args: object) -> None:
        with sessions() as other:
            other.execute(delete(History).where(History.id == ada.history_id))
            other.commit()

    monkeypatch.setattr(generations, "check_open_jobs", deleted_meanwhile)
    answer = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a mug"})
    assert (answer.status_code, answer.json()["type"]) == (409, "about:blank#conflict")
    assert "at the same moment" in answer.json()["detail"]


def test_asking_too_often_is_429_with_the_time_to_wait(config: Settings, sessions: Sessions) -> None:
    slow = config.model_copy(update={"api_rate": "3/minute"})
    with TestClient(create_app(slow, lambda *_args, **_kwargs: None)) as client:
        person = make_person(client, sessions, "ada")
        answers = [person.ask("GET", "/me") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert 1 <= int(answers[3].headers["retry-after"]) <= 61
        other = make_person(client, sessions, "bob")
        assert other.ask("GET", "/me").status_code == 200


def test_secrets_may_come_from_files(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql+psycopg://somewhere/else\n")
    assert with_secret_files({"DATABASE_URL_FILE": str(secret)}) == {
        "database_url": "postgresql+psycopg://somewhere/else"
    }


def test_logs_hide_what_is_called_like_a_secret() -> None:
    line = hide_secrets(None, "info", {"event": "login", "password": "x", "csrf_token": "y", "user": "ada"})
    assert line == {"event": "login", "password": "(hidden)", "csrf_token": "(hidden)", "user": "ada"}


def test_a_stranger_cannot_fill_the_disk(client: TestClient) -> None:
    big = b"name=" + b"x" * 70_000
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/login", content=big, headers=form).status_code == 413
    in_pieces = client.post("/login", content=iter([big[:40_000], big[40_000:]]), headers=form)
    assert in_pieces.status_code == 413
    assert "64 kB" in in_pieces.json()["detail"]
    assert client.post("/api/v1/histories", content=big, headers={"Authorization": "Bearer x"}).status_code == 401


def test_a_cookie_or_key_that_opens_nothing_lets_nobody_send_more(client: TestClient) -> None:
    files = {"pictures": ("x.png", b"x" * 2_000_000, "image/png")}
    client.cookies.set("palimpsest_session", "made up")
    asked = client.post("/uploads", files=files, headers={"HX-Request": "true"})
    assert (asked.status_code, asked.json()["detail"]) == (401, "You are logged out. Log in again.")
    client.cookies.clear()
    for headers in ({}, {"Authorization": "Bearer pk_made_up"}):
        refused = client.post(f"/api/v1/histories/{uuid4()}/concepts", files=files, headers=headers)
        assert (refused.status_code, refused.json()["title"]) == (401, "Not logged in")


def test_a_request_of_somebody_known_has_its_limit_too(config: Settings, sessions: Sessions) -> None:
    small = config.model_copy(update={"max_files": 1, "max_file_bytes": 1000})
    with TestClient(create_app(small, lambda *_args, **_kwargs: None)) as client:
        person = make_person(client, sessions, "ada")
        files = [("pictures", ("x.png", b"x" * 1_100_000, "image/png"))]
        data = {"name": "rex", "class_noun": "dog"}
        refused = person.ask("POST", f"/histories/{person.history_id}/concepts", data=data, files=files)
        assert refused.status_code == 413
        assert refused.json()["type"] == "about:blank#too-large"
        assert "1 MB" in refused.json()["detail"]
        assert "default-src 'self'" in refused.headers["content-security-policy"]


def test_our_own_mistakes_have_a_number_and_all_headers(config: Settings) -> None:
    app = create_app(config, lambda *_args, **_kwargs: None)

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("a secret")

    with TestClient(app) as client:
        answer = client.get("/broken", headers={"X-Request-ID": "n-1"})
        assert answer.status_code == 500
        assert answer.json()["request_id"] == "n-1"
        assert "secret" not in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        page = client.get("/broken", headers={"Accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")


def test_whoever_is_logged_out_is_led_to_the_door_and_back(client: TestClient) -> None:
    html = {"Accept": "text/html"}
    to_login = client.get("/gallery?concept=a&b", headers=html, follow_redirects=False)
    assert to_login.headers["location"] == "/login?next=%2Fgallery%3Fconcept%3Da%26b"
    part = client.get("/jobs", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/jobs?x=1#there"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login?next=%2Fjobs%3Fx%3D1")
    assert client.get("/api/v1/me", headers=html).headers["content-type"] == "application/problem+json"


def test_an_address_that_is_too_long_for_the_login_is_led_back_to_without_its_query(client: TestClient) -> None:
    for length, to in ((400, "/login?next=%2Fgallery%3Fconcept%3Daaa"), (600, "/login?next=%2Fgallery")):
        address = f"/gallery?concept={'a' * length}"
        whole = client.get(address, headers={"Accept": "text/html"}, follow_redirects=False)
        part = client.get("/jobs", headers={"HX-Request": "true", "HX-Current-URL": f"http://testserver{address}"})
        assert whole.headers["location"] == part.headers["hx-redirect"]
        assert whole.headers["location"].startswith(to)
        assert client.get(whole.headers["location"], headers={"Accept": "text/html"}).status_code == 200
