"""A worker whose files lie in a bucket: it learns, checkpoints included, and makes pictures with what it learned."""

import hashlib
from pathlib import Path

import pytest
import torch

from app.bucket import Bucket
from app.config import Settings
from app.jobs.models import JobState
from app.storage import BlobStore
from app.stores import open_store
from tests.app.conftest import Servers, s3  # noqa: F401 - a fixture
from tests.app.s3 import KEY, SECRET, make_bucket
from tests.worker.library import learn_alone
from tests.worker.world import World
from worker.generating import generate
from worker.learning import learn
from worker.process import Worker


@pytest.fixture
def settings(servers: Servers, redis_url: str, s3: str, base_folder: Path, device: torch.device) -> Settings:  # noqa: F811
    access = make_bucket(s3)
    return Settings(
        database_url=servers.database_url,
        redis_url=redis_url,
        blob_url=f"s3://{access.bucket}/ours",
        blob_endpoint=access.endpoint,
        blob_region=access.region,
        blob_access_key=KEY,
        blob_secret_key=SECRET,
        base_model=str(base_folder),
        device=str(device),
        checkpoint_s=0.01,
    )


@pytest.fixture
def store(settings: Settings) -> BlobStore:
    return open_store(settings)


def test_what_is_learned_lies_in_the_bucket_and_pictures_are_made_with_it(worker: Worker, world: World) -> None:
    history = world.history()
    job = world.learning(history)
    learn(worker, job)
    assert world.job(job).state == JobState.DONE
    version = world.version(history, 1)
    alone = learn_alone(worker.equipment, "rex", "dog", captioner=worker.equipment.captioner)
    assert version.delta_sha256 == alone.digest
    assert hashlib.sha256(world.store.get(version.delta_sha256)).hexdigest() == version.delta_sha256
    asked = world.generation(history, "a photo of a <rex> dog", version=1)
    generate(worker, asked)
    assert [recipe["seed"] for recipe in world.recipes(asked)] == [7]
    assert isinstance(worker.store.blobs, Bucket)
