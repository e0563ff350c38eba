"""A job that ended badly is tried again: what it keeps, for how long, and how often it is queued."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, text, update

from app import blobs
from app.collect import collect
from app.config import Settings
from app.db import Sessions
from app.jobs.models import LEARNED_ON, Job, JobEvent, JobSample, JobState
from app.storage import BlobStore
from tests.app.person import Person, png
from tests.app.s3 import make_old


@pytest.fixture
def config(config: Settings) -> Settings:
    return config.model_copy(update={"max_open_jobs": 2})


@pytest.fixture
def failed(ada: Person, sessions: Sessions, store: BlobStore) -> UUID:
    """A learning that failed on its way, and kept what it had."""
    job_id = UUID(ada.teach("rex").json()["job"]["id"])
    with sessions.begin() as session:
        kept = {"state": JobState.FAILED.value, "error": "The disk was full.", "step": 40, "steps_total": 80}
        kept |= {"checkpoint_sha256": blobs.keep(session, store, b"a checkpoint", "x/y"), "stage": "learning"}
        kept |= {"progress": {LEARNED_ON: None, "losses": [[40, 0.5]]}, "finished_at": text("now()")}
        session.execute(update(Job).where(Job.id == job_id).values(**kept))
        digest = blobs.keep(session, store, png(seed=1), "image/png")
        session.add(JobSample(job_id=job_id, step=0, blob_sha256=digest))
        for kind in ("progress", "captions", "sample"):
            session.add(JobEvent(job_id=job_id, kind=kind, data={}))
    return job_id


def job_of(sessions: Sessions, job_id: UUID) -> Job:
    with sessions() as session:
        return session.get_one(Job, job_id)


def told(sessions: Sessions, job_id: UUID) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(JobEvent.kind).where(JobEvent.job_id == job_id).order_by(JobEvent.id)))


def try_again(ada: Person, job_id: UUID, **options: Any) -> httpx.Response:
    return ada.ask("POST", f"/jobs/{job_id}/retry", **options)


def test_one_that_kept_its_checkpoint_goes_on_from_it(ada: Person, failed: UUID, sessions: Sessions) -> None:
    checkpoint = job_of(sessions, failed).checkpoint_sha256
    assert try_again(ada, failed).status_code == 202
    now = job_of(sessions, failed)
    assert (now.state, now.checkpoint_sha256, now.step) == (JobState.QUEUED, checkpoint, 40)
    assert (now.error, now.finished_at, now.times_lost) == (None, None, 0)
    assert told(sessions, failed) == ["captions", "sample", "state"]
    with sessions() as session:
        assert len(session.scalars(select(JobSample)).all()) == 1


@pytest.mark.parametrize("why", ["its checkpoint was dropped", "it began on another version"])
def test_any_other_begins_anew(ada: Person, failed: UUID, sessions: Sessions, why: str) -> None:
    dropped = why == "its checkpoint was dropped"
    changed: dict[str, Any] = {"checkpoint_sha256": None} if dropped else {"progress": {LEARNED_ON: str(UUID(int=7))}}
    with sessions.begin() as session:
        session.execute(update(Job).where(Job.id == failed).values(**changed))
    assert try_again(ada, failed).status_code == 202
    now = job_of(sessions, failed)
    assert (now.state, now.checkpoint_sha256) == (JobState.QUEUED, None)
    assert (now.stage, now.step, now.steps_total, now.progress) == ("", 0, 0, {})
    assert told(sessions, failed) == ["state"]
    with sessions() as session:
        assert session.scalars(select(JobSample)).all() == []


def test_a_checkpoint_of_what_failed_is_kept_for_a_day(
    ada: Person, failed: UUID, sessions: Sessions, store: BlobStore
) -> None:
    checkpoint = job_of(sessions, failed).checkpoint_sha256
    assert checkpoint is not None
    with sessions.begin() as session:
        session.execute(text("UPDATE blobs SET created_at = now() - interval '2 hours'"))
    make_old(store)
    collect(sessions, store)
    assert (job_of(sessions, failed).checkpoint_sha256, store.has(checkpoint)) == (checkpoint, True)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET finished_at = now() - interval '25 hours'"))
    collect(sessions, store)
    assert (job_of(sessions, failed).checkpoint_sha256, store.has(checkpoint)) == (None, False)


def test_it_counts_among_the_jobs_that_may_be_open(ada: Person, failed: UUID) -> None:
    others = [ada.teach(name).json()["job"]["id"] for name in ("momo", "tom")]
    refused = try_again(ada, failed)
    assert refused.status_code == 429
    assert "2 jobs waiting or running" in refused.json()["detail"]
    assert ada.ask("POST", f"/jobs/{others[0]}/cancel").status_code == 200
    assert try_again(ada, failed).status_code == 202


def test_of_two_equal_requests_at_once_one_queues_it_and_both_are_told_so(
    ada: Person, failed: UUID, sent: list[tuple[str, dict[str, str]]]
) -> None:
    sent.clear()
    together = threading.Barrier(4)

    def ask(_number: int) -> httpx.Response:
        together.wait()
        return try_again(ada, failed, headers={"Idempotency-Key": "again"})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert [answer.status_code for answer in answers] == [202] * 4
    assert [kwargs["job_id"] for _, kwargs in sent] == [str(failed)]
