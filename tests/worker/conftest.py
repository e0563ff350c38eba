"""A tiny base with a tiny judge beside it, and a worker in this process whose messages are only written down."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.config import Settings
from app.db import Sessions
from app.storage import BlobStore
from cns.examination import ExaminationSettings
from tests import tiny, tiny_clip
from tests.app.conftest import Servers, engine, redis_url, servers, sessions, store  # noqa: F401 - fixtures
from tests.worker.world import World
from worker.equipment import Equipment, load_equipment
from worker.process import Worker


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.build_sd1(tmp_path_factory.mktemp("worker-base") / "tiny")
    tiny_clip.build_clip(folder / "clip")
    return folder


@pytest.fixture(scope="session")
def plain_folder(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same base without a judge: nothing is examined, so that a learning ends sooner."""
    folder = tmp_path_factory.mktemp("plain") / "tiny"
    return Path(shutil.copytree(base_folder, folder, ignore=shutil.ignore_patterns("clip")))


@pytest.fixture(scope="session")
def equipment(base_folder: Path, device: torch.device) -> Equipment:
    loaded = load_equipment(Settings(base_model=str(base_folder), device=str(device)))
    return replace(loaded, examination=ExaminationSettings(("a photo of a {}",), generic_pictures=1, steps=2))


@pytest.fixture
def settings(
    servers: Servers,  # noqa: F811
    redis_url: str,  # noqa: F811
    store: BlobStore,  # noqa: F811
    base_folder: Path,
    device: torch.device,
) -> Settings:
    return Settings(
        database_url=servers.database_url,
        redis_url=redis_url,
        blob_folder=store.blobs.folder,
        base_model=str(base_folder),
        device=str(device),
        lease_s=10,
        heartbeat_s=0.3,
        sweep_s=0.3,
        checkpoint_s=0.2,
        log_level="INFO",
    )


@pytest.fixture
def rung() -> list[tuple[str, str]]:
    """What the worker sent: names of tasks with the ids of their jobs."""
    return []


@pytest.fixture
def worker(
    settings: Settings,
    equipment: Equipment,
    sessions: Sessions,  # noqa: F811
    rung: list[tuple[str, str]],
) -> Iterator[Worker]:
    """A worker without Celery: the tests call its use cases."""

    def send(task: str, *, kwargs: dict[str, str], **_: object) -> None:
        rung.append((task, kwargs["job_id"]))

    made = Worker(settings, equipment, send)
    made.start()
    yield made
    made.close()


@pytest.fixture
def world(sessions: Sessions, store: BlobStore, equipment: Equipment, worker: Worker) -> World:  # noqa: F811
    """Users, histories and jobs; after the worker, which has reported its base."""
    return World(sessions, store, equipment.base.id)
