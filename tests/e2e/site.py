"""The whole service on this machine: servers, web, a worker with a tiny model, and people with their browsers."""

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route

from app.accounts.models import LoginSession, User
from app.accounts.service import now
from app.config import Settings
from app.db import Sessions
from app.histories.models import BaseModelRow, History
from app.security import digest_of, new_token
from app.storage import BlobStore

PATIENCE_MS = 240_000  # for what a worker does: a busy machine takes its time
# What a browser tells of by itself when an answer is an error that a test asked for.
_EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")


_SETTLE = """async () => {
    const images = [...document.images];
    for (const image of images) image.loading = "eager";
    await document.fonts.ready;
    await Promise.all(images.map((image) => image.decode().catch(() => null)));
}"""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """A browser of this machine: CHROMIUM names it, else one that is on the path."""
    return os.environ.get("CHROMIUM") or next((path for name in CHROMIUM if (path := shutil.which(name))), None)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of the application while it runs on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not (server.started and server.servers):
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def holding(page: Page, addresses: str) -> Iterator[None]:
    """What the page asks of such addresses is on its way until the end of the block."""
    held: list[Route] = []
    is_over = False
    page.route(addresses, lambda route: route.continue_() if is_over else held.append(route))
    yield
    is_over = True
    for route in held:
        route.continue_()


@dataclass
class Visitor:
    """Somebody with a browser. `wrong`: whatever it complained of, and whatever it asked of other machines."""

    context: BrowserContext
    page: Page
    site: "Site"
    user_id: UUID | None = None
    wrong: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("request", self._note_request)
        self.page.set_default_timeout(60_000)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _EXPECTED.match(message.text):
            self.wrong.append(f"console: {message.text}")

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self.site.url, "blob:", "data:")):
            self.wrong.append(f"asked elsewhere: {request.url}")

    def go(self, path: str) -> Page:
        self.page.goto(self.site.url + path)
        return self.page

    def settle(self) -> None:
        """Wait until all that is to be seen is there: fonts, and pictures that come as late as one looks at them."""
        self.page.evaluate(_SETTLE)

    def look(self, name: str, *, full: bool = True) -> None:
        """A picture of the page for people, where the tests keep theirs."""
        self.settle()
        self.page.screenshot(path=self.site.pictures / f"{name}.png", full_page=full)

    def history(self, name: str = "Our things") -> str:
        """A new history of theirs on the worker's base."""
        with self.site.sessions() as session:
            base = session.query(BaseModelRow).order_by(BaseModelRow.seen_at.desc()).first()
            assert base is not None
            made = History(owner_id=self.user_id, base_id=base.id, name=name)
            session.add(made)
            session.commit()
            return str(made.id)


@dataclass
class Site:
    """A running service."""

    url: str
    settings: Settings
    sessions: Sessions
    store: BlobStore
    browser: Browser
    pictures: Path
    visitors: list[Visitor] = field(default_factory=list)

    def visit(
        self,
        *,
        logged_in: str | None = None,
        is_admin: bool = False,
        as_user: UUID | None = None,
        **options: object,
    ) -> Visitor:
        """A browser of its own. logged_in: the name of a new user whose cookie it has already; as_user: one of old."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})  # type: ignore[arg-type]
        visitor = Visitor(context, context.new_page(), self)
        visitor.watch()
        if logged_in:
            with self.sessions() as session:
                user = User(name=f"{logged_in}-{new_token()[:5]}", password_hash="-", is_admin=is_admin)  # noqa: S106
                session.add(user)
                session.commit()
                as_user = user.id
        if as_user:
            visitor.user_id = as_user
            context.add_cookies([{"name": "palimpsest_session", "value": self.log_in(as_user), "url": self.url}])
        self.visitors.append(visitor)
        return visitor

    def log_in(self, user_id: UUID) -> str:
        """The value of the cookie of a new session."""
        token = new_token()
        with self.sessions() as session:
            login = LoginSession(
                user_id=user_id,
                token_sha256=digest_of(token),
                csrf_token=new_token(),
                expires_at=now() + timedelta(days=1),
            )
            session.add(login)
            session.commit()
        return token

    def close_visitors(self) -> list[str]:
        """Close every browser; returns what was wrong in them."""
        wrong = [one for visitor in self.visitors for one in visitor.wrong]
        for visitor in self.visitors:
            visitor.context.close()
        self.visitors.clear()
        return wrong
