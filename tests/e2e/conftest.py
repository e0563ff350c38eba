"""One service with a real worker for all tests of a session; everybody who visits it is a user of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from app.config import Settings
from app.db import make_engine, make_sessions
from app.main import create_app
from app.migrate import migrate
from app.servers import private_servers
from app.stores import folder_store
from tests import tiny
from tests.e2e.site import Site, find_chromium, served
from tests.worker.processes import WorkerProcess


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip("There is no Chromium on this machine (Debian: apt-get install chromium), so no page is tried.")
    with sync_playwright() as playwright:
        # Without its sandbox, as tests may run as root in a container; it only ever visits our own pages.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages go: PAGE_PICTURES keeps them."""
    folder = Path(os.environ.get("PAGE_PICTURES") or tmp_path_factory.mktemp("pages"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def service(browser: Browser, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The web process, with its servers, and no worker yet."""
    folder = tmp_path_factory.mktemp("e2e")
    base = tiny.build_sd1(folder / "storybook")  # the name of the embedded base, so that its samples are offered
    with private_servers(folder / "servers", durable=False) as servers:
        migrate(servers.database_url)
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            blob_folder=folder / "blobs",
            base_model=str(base),
            device="cpu",
            sweep_s=0.5,
            heartbeat_s=0.5,
            lease_s=20,
            login_rate="1000/minute",
            log_level="ERROR",
        )
        engine = make_engine(servers.database_url)
        with served(create_app(settings)) as url:
            yield Site(url, settings, make_sessions(engine), folder_store(settings.blob_folder), browser, pictures)
        engine.dispose()


@pytest.fixture(scope="session")
def worker(service: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    # It says that it is ready among its INFO lines.
    settings = service.settings.model_copy(update={"log_level": "INFO"})
    process = WorkerProcess(settings, tmp_path_factory.mktemp("worker"))
    try:
        process.start()
        yield process
    finally:
        process.close()


@pytest.fixture
def site(service: Site) -> Iterator[Site]:
    """The service; at the end no browser may have complained, nor asked anything of another machine."""
    yield service
    assert service.close_visitors() == []


@pytest.fixture
def working_site(site: Site, worker: WorkerProcess) -> Site:
    """The service with its worker."""
    return site
