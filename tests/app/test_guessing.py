"""Whoever guesses at a password is slowed down, and keeps nobody else out by it."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from app.accounts.known_browsers import KNOWN_COOKIE
from app.accounts.service import change_password, create_user, list_users
from app.config import Settings
from app.db import Sessions, UnitOfWork
from app.main import create_app

OPENS, WRONG = "a long enough one", "another long one"
Browser = Callable[[str], TestClient]


@pytest.fixture
def uow(sessions: Sessions) -> UnitOfWork:
    return UnitOfWork(sessions, lambda *_args, **_kwargs: None)


@pytest.fixture
def browser(config: Settings, uow: UnitOfWork) -> Iterator[Browser]:
    """A browser at some address, of a server where ada and bob have accounts; two attempts an hour."""
    for name in ("ada", "bob"):
        create_user(uow, name, OPENS)
    app = create_app(config.model_copy(update={"login_rate": "2/hour"}), lambda *_args, **_kwargs: None)
    with ExitStack() as stack:
        stack.enter_context(TestClient(app))
        yield lambda address: TestClient(app, client=(address, 1), headers={"Accept": "text/html"})


def attempt(browser: TestClient, password: str, name: str = "ada") -> int:
    browser.cookies.delete("palimpsest_session")
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/login").text)
    assert found
    data = {"csrf_token": found[1], "name": name, "password": password}
    return browser.post("/login", data=data, follow_redirects=False).status_code


def guess(browser: Browser, addresses: int) -> list[int]:
    """Each has one more attempt than an address may have."""
    strangers = [browser(f"192.0.2.{number}") for number in range(addresses)]
    return [attempt(one, WRONG) for one in strangers for _ in range(3)]


def test_who_guesses_from_one_address_does_not_keep_out_whoever_has_the_name(browser: Browser) -> None:
    assert guess(browser, 1) == [401, 401, 429]
    assert attempt(browser("198.51.100.7"), OPENS) == 303


def test_who_guesses_from_everywhere_does_not_keep_out_a_browser_where_one_has_logged_in_before(
    browser: Browser,
) -> None:
    known, new = browser("192.0.2.0"), browser("198.51.100.7")  # the one at an address where somebody guesses as well
    assert attempt(known, OPENS) == 303
    assert guess(browser, 11).count(401) == 2 * 10 - 1
    assert attempt(new, OPENS) == 429
    assert attempt(known, OPENS) == 303


def test_a_known_browser_has_so_many_guesses_and_no_more(browser: Browser) -> None:
    known = browser("192.0.2.0")
    assert attempt(known, OPENS) == 303
    assert [attempt(known, WRONG) for _ in range(3)] == [401, 401, 429]


def test_a_browser_is_known_for_one_name_until_its_password_changes(browser: Browser, uow: UnitOfWork) -> None:
    known = browser("198.51.100.7")
    assert attempt(known, OPENS) == 303
    guess(browser, 11)
    for number in range(10):
        assert attempt(browser(f"203.0.113.{number}"), WRONG, "bob") == 401
        assert attempt(browser(f"203.0.113.{number}"), WRONG, "bob") == 401
    assert attempt(known, OPENS, "bob") == 429
    forged = browser("198.51.100.8")
    for cookie in ("x", ".", "x.y", known.cookies[KNOWN_COOKIE][:-1] + "x"):
        forged.cookies.set(KNOWN_COOKIE, cookie)
        assert attempt(forged, OPENS) == 429, cookie
    with uow:
        ada = next(one for one in list_users(uow.session) if one.name == "ada")
    change_password(uow, ada.id, OPENS, WRONG)
    assert attempt(known, WRONG) == 429


def test_guesses_that_come_at_once_are_no_more_than_those_that_come_one_after_another(browser: Browser) -> None:
    strangers = [browser(f"192.0.2.{number}") for number in range(24)]
    together = threading.Barrier(len(strangers))

    def come(one: TestClient) -> int:
        together.wait(30)
        return attempt(one, WRONG)

    with ThreadPoolExecutor(len(strangers)) as pool:
        assert sorted(pool.map(come, strangers)) == [401] * 20 + [429] * 4
