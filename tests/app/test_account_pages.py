"""Accounts in a browser, by forms: first run, logging in, the form's token, keys shown once."""

import re

import pytest
from fastapi.testclient import TestClient

from app.accounts.service import create_user, make_setup_link, set_up
from app.db import Sessions, UnitOfWork

OPENS = "a long enough one"
HTML = {"Accept": "text/html"}


@pytest.fixture
def uow(sessions: Sessions) -> UnitOfWork:
    return UnitOfWork(sessions, lambda *_args, **_kwargs: None)


@pytest.fixture
def browser(client: TestClient) -> TestClient:
    client.headers.update(HTML)
    return client


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, page[:500]
    return found[1]


def log_in(browser: TestClient, name: str = "ada", password: str = OPENS) -> None:
    page = browser.get("/login")
    browser.post("/login", data={"csrf_token": token_in(page.text), "name": name, "password": password})


def test_the_first_run_ends_inside(browser: TestClient, uow: UnitOfWork) -> None:
    link = make_setup_link(uow)
    page = browser.get("/first-run", params={"token": link})
    data = {"csrf_token": token_in(page.text), "token": link, "name": "ada", "password": "short"}
    again = browser.post("/first-run", data=data)
    assert again.status_code == 422
    assert "at least 10 characters" in again.text
    assert 'value="ada"' in again.text
    inside = browser.post("/first-run", data={**data, "password": OPENS})
    assert inside.status_code == 200
    assert "Log out" in inside.text
    assert browser.get("/first-run", params={"token": link}).status_code == 404


def test_whoever_comes_to_log_in_before_anybody_has_an_account_is_sent_to_the_terminal(
    browser: TestClient, uow: UnitOfWork
) -> None:
    link = make_setup_link(uow)
    where = "finds the link that makes the first one in its terminal"
    page = browser.get("/login").text
    assert where in page
    assert where in browser.post("/login", data={"csrf_token": token_in(page), "name": "ada", "password": OPENS}).text
    assert link is not None
    set_up(uow, link, "ada", OPENS)
    assert "An administrator of this server makes one for you" in browser.get("/login").text


def test_a_wrong_password_is_said_in_the_form_and_the_right_one_goes_where_one_wanted(
    browser: TestClient, uow: UnitOfWork
) -> None:
    create_user(uow, "ada", OPENS)
    page = browser.get("/account")
    assert page.url.path == "/login"
    data = {"csrf_token": token_in(page.text), "name": "ada", "password": "another long one", "next": "/account"}
    wrong = browser.post("/login", data=data)
    assert wrong.status_code == 401
    assert "Name or password is wrong." in wrong.text
    assert browser.post("/login", data={**data, "password": OPENS}).url.path == "/account"


def test_nobody_is_sent_to_another_site(browser: TestClient, uow: UnitOfWork) -> None:
    create_user(uow, "ada", OPENS)
    page = browser.get("/login", params={"next": "//evil.example/x"})
    data = {"csrf_token": token_in(page.text), "name": "ada", "password": OPENS, "next": "https://evil.example"}
    assert browser.post("/login", data=data, follow_redirects=False).headers["location"] == "/"


def test_a_login_page_that_was_open_for_too_long_is_shown_anew_with_what_was_typed(
    browser: TestClient, uow: UnitOfWork
) -> None:
    create_user(uow, "ada", OPENS)
    page = browser.get("/login", params={"next": "/account"})
    browser.cookies.clear()  # as it does after an hour
    data = {"csrf_token": token_in(page.text), "name": "ada", "password": OPENS, "next": "/account"}
    again = browser.post("/login", data=data)
    assert again.status_code == 403
    assert "This page was open for too long, so nothing was done. Send the form once more." in again.text
    assert 'value="ada"' in again.text
    assert 'name="next" value="/account"' in again.text
    inside = browser.post("/login", data={**data, "csrf_token": token_in(again.text)})
    assert (inside.status_code, inside.url.path) == (200, "/account")


def test_a_first_page_that_was_open_for_too_long_is_shown_anew_with_what_was_typed(
    browser: TestClient, uow: UnitOfWork
) -> None:
    link = make_setup_link(uow)
    page = browser.get("/first-run", params={"token": link})
    browser.cookies.clear()
    data = {"csrf_token": token_in(page.text), "token": link, "name": "ada", "password": OPENS}
    again = browser.post("/first-run", data=data)
    assert again.status_code == 403
    assert "Send the form once more." in again.text
    assert 'value="ada"' in again.text
    assert "Log out" in browser.post("/first-run", data={**data, "csrf_token": token_in(again.text)}).text


def test_whoever_is_logged_out_when_a_form_arrives_is_led_back_to_it_and_so_is_who_logged_in_anew(
    browser: TestClient, uow: UnitOfWork
) -> None:
    create_user(uow, "ada", OPENS)
    before = {"Referer": "http://testserver/account?from=here"}
    out = browser.post("/account/keys", data={"name": "x"}, headers=before)
    assert out.status_code == 401
    assert 'href="/login?next=%2Faccount%3Ffrom%3Dhere">Log in' in out.text
    log_in(browser)
    stale = browser.post("/account/keys", data={"name": "x", "csrf_token": "of another session"}, headers=before)
    assert stale.status_code == 403
    assert 'href="/account?from=here">Back to the form' in stale.text
    foreign = {"Referer": "https://evil.example//evil.example/x"}
    assert "evil" not in browser.post("/account/keys", data={"name": "x"}, headers=foreign).text
    assert browser.post("/account/keys", data={"name": "x"}, headers={"Referer": "http://["}).status_code == 403


def test_whoever_is_logged_out_and_wants_a_download_logs_in_and_comes_back_to_its_page(browser: TestClient) -> None:
    zip_of = "/api/v1/images.zip?image_id=0b4d5a5e-8a43-4f0e-9d2a-6a1c9d1f2e11"
    answer = browser.get(zip_of, headers={"Referer": "http://testserver/gallery?version=2"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fgallery%3Fversion%3D2")
    by_program = browser.get(zip_of, headers={"Accept": "*/*", "Referer": "http://testserver/gallery"})
    assert by_program.json()["status"] == 401


def test_a_form_without_its_token_changes_nothing(browser: TestClient, uow: UnitOfWork) -> None:
    create_user(uow, "ada", OPENS)
    assert browser.post("/login", data={"name": "ada", "password": OPENS}).status_code == 403
    log_in(browser)
    assert browser.post("/account/keys", data={"name": "x"}).status_code == 403
    assert browser.post("/account/keys", data={"name": "x", "csrf_token": "guessed"}).status_code == 403
    assert browser.post("/api/v1/api-keys", json={"name": "x"}).status_code == 403
    token = token_in(browser.get("/account").text)
    assert browser.post("/api/v1/api-keys", json={"name": "x"}, headers={"X-CSRF-Token": token}).status_code == 201


def test_a_key_is_shown_once_on_the_page(browser: TestClient, uow: UnitOfWork) -> None:
    create_user(uow, "ada", OPENS)
    log_in(browser)
    token = token_in(browser.get("/account").text)
    made = browser.post("/account/keys", data={"name": "notebook", "csrf_token": token})
    assert "<code>http://testserver/v1</code>" in made.text  # where programs find OpenAI's interface
    found = re.search(r'<code id="new-key">(pk_[^<]+)</code>', made.text)
    assert found
    assert found[1] not in browser.get("/account").text


def test_logging_out_ends_the_session_on_the_server(browser: TestClient, uow: UnitOfWork) -> None:
    create_user(uow, "ada", OPENS)
    log_in(browser)
    kept = browser.cookies["palimpsest_session"]
    browser.post("/logout", data={"csrf_token": token_in(browser.get("/account").text)})
    browser.cookies.set("palimpsest_session", kept)
    assert browser.get("/account").url.path == "/login"


def test_cookies_are_out_of_reach_of_scripts(browser: TestClient, uow: UnitOfWork) -> None:
    create_user(uow, "ada", OPENS)
    page = browser.get("/login")
    answer = browser.post(
        "/login",
        data={"csrf_token": token_in(page.text), "name": "ada", "password": OPENS},
        follow_redirects=False,
    )
    cookie = next(value for value in answer.headers.get_list("set-cookie") if "palimpsest_session" in value).lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_guessing_is_slowed_down(browser: TestClient, uow: UnitOfWork) -> None:
    create_user(uow, "ada", OPENS)
    token = token_in(browser.get("/login").text)
    data = {"csrf_token": token, "name": "ada", "password": "another long one"}
    answers = [browser.post("/login", data=data).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]
