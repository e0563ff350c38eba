"""From the link that the server prints to the first learning."""

import re

import pytest
from playwright.sync_api import expect
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from app.accounts.service import make_setup_link
from app.db import UnitOfWork, make_engine, make_sessions
from app.main import create_app
from app.migrate import migrate
from app.stores import folder_store
from tests.app import make
from tests.e2e.site import Site, served


@pytest.fixture
def new_url(site: Site) -> str:
    """A database of its own, in which there is nobody yet."""
    url = make_url(site.settings.database_url)
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE nobody_yet"))
    engine.dispose()
    new = url.set(database="nobody_yet").render_as_string(hide_password=False)
    migrate(new)
    return new


def test_the_printed_link_makes_the_administrator_who_begins_with_a_sample(site: Site, new_url: str) -> None:
    settings = site.settings.model_copy(update={"database_url": new_url})
    engine = make_engine(new_url)
    sessions = make_sessions(engine)
    with sessions() as session:
        make.base_model(session).facts = {**make.FACTS, "name": "storybook"}
        session.commit()
    link = make_setup_link(UnitOfWork(sessions, lambda *_args, **_kwargs: None))
    with served(create_app(settings, lambda *_args, **_kwargs: None)) as url:
        fresh = Site(url, settings, sessions, folder_store(settings.blob_folder), site.browser, site.pictures)
        visitor = fresh.visit()
        page = visitor.go(f"/first-run?token={link}")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("A password").fill("a long enough password")
        repeated = page.get_by_label(re.compile("again", re.IGNORECASE))
        if repeated.count():
            repeated.fill("a long enough password")
        page.locator("main form button").click()

        expect(page.get_by_role("heading", name="Begin a history")).to_be_visible()
        visitor.look("welcome")
        page.get_by_label("Its name").fill("Our things")
        page.get_by_label(re.compile("zigi")).check()
        page.get_by_role("button", name="Begin").click()

        expect(page.get_by_role("heading", name="Learning <zigi>")).to_be_visible()
        assert page.locator(".taught li").count() == 5
        page.get_by_title("Your account").click()
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("a long enough password")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Studio")).to_be_visible()

        page.goto(f"{url}/first-run?token={link}")
        expect(page.get_by_role("heading", name="Not found")).to_be_visible()
        assert fresh.close_visitors() == []
    engine.dispose()
