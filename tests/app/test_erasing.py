"""What an erasure takes along besides versions and files: all that names the bytes that are gone."""

from io import BytesIO
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import select, text

from app import blobs, thumbnails
from app.blobs import Blob
from app.db import Sessions
from app.errors import NotFound
from app.forgettings.erasing import Doomed, NotErased, erase_files, erase_rows, prove
from app.forgettings.models import Forgetting
from app.jobs.models import LEARNED_ON, Job, JobEvent, JobSample, JobState
from app.storage import BlobStore
from app.thumbnails import make_thumbnail, thumbnail, thumbnail_name
from tests.app import make
from tests.app.person import png

TOO_MANY = 65_600  # a statement has 65,535 parameters at the most


def begun_on_rex(sessions: Sessions, store: BlobStore, state: JobState, error: str | None = None) -> tuple[UUID, UUID]:
    """A learning of momo that began on the version that knows rex, with a sample; and the forgetting of rex."""
    with sessions() as session:
        history = make.history(session, make.user(session))
        version = make.version(session, history, 1, "rex")
        job = make.learning(session, history, "momo")
        job.state, job.error, job.progress = state.value, error, {LEARNED_ON: str(version.id)}
        digest = blobs.keep(session, store, png(seed=1), "image/png")
        session.add(JobSample(job_id=job.id, step=0, blob_sha256=digest))
        session.flush()
        for kind, data in (
            ("state", {"state": "running"}),
            ("captions", {"captions": ["a photo of a <momo> cat"]}),
            ("sample", {"step": 0, "sha256": digest}),
            ("progress", {"stage": "learning", "step": 7}),
        ):
            session.add(JobEvent(job_id=job.id, kind=kind, data=data))
            session.flush()
        session.commit()
        return job.id, make.forgetting(session, history, "rex").id


def events(sessions: Sessions, job_id: UUID) -> list[tuple[str, dict[str, object]]]:
    with sessions() as session:
        found = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id))
        return [(event.kind, event.data) for event in found]


@pytest.mark.parametrize(
    ("state", "error", "told"),
    [
        (JobState.QUEUED, None, {"state": "queued"}),
        (JobState.FAILED, "It was lost.", {"state": "failed", "error": "It was lost."}),
    ],
)
def test_a_learning_that_begins_anew_is_told_of_as_it_is_now_and_names_no_sample_that_is_gone(
    state: JobState, error: str | None, told: dict[str, object], sessions: Sessions, store: BlobStore
) -> None:
    job_id, forgetting_id = begun_on_rex(sessions, store, state, error)
    with sessions() as session:
        doomed = erase_rows(session, session.get_one(Forgetting, forgetting_id))
        session.commit()
        assert session.get_one(Job, job_id).progress == {}
    assert events(sessions, job_id) == [("captions", {"captions": ["a photo of a <momo> cat"]}), ("state", told)]
    erase_files(sessions, store, doomed)
    with sessions() as session:
        proof = prove(session, store, doomed, [1])
    assert {one["what"] for one in proof["removed"]} == {"the delta of version 1", "a sample of a learning"}


def test_bytes_that_an_event_still_names_are_not_proved_to_be_gone(sessions: Sessions, store: BlobStore) -> None:
    doomed = [Doomed("ab" * 32, "a sample of a learning")]
    with sessions() as session:
        job = make.learning(session, make.history(session, make.user(session)))
        session.add(JobEvent(job_id=job.id, kind="sample", data={"step": 0, "sha256": "ab" * 32}))
        session.commit()
        with pytest.raises(NotErased, match="1 of the erased files is still there"):
            prove(session, store, doomed, [1])


def test_a_thumbnail_of_what_is_erased_while_it_is_made_is_not_left_behind(
    each_kind: str, sessions: Sessions, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions() as session:
        digest = blobs.keep(session, store, png(seed=1), "image/png")
        session.commit()
    doomed = [Doomed(digest, "a picture made with it")]

    def make_meanwhile(picture: bytes, size_px: int) -> bytes:
        erase_files(sessions, store, doomed)
        with sessions() as session:
            prove(session, store, doomed, [1])
        return make_thumbnail(picture, size_px)

    with monkeypatch.context() as patched:
        patched.setattr(thumbnails, "make_thumbnail", make_meanwhile)
        with pytest.raises(NotFound):
            thumbnail(store, digest, 96)
    assert list(store.thumbnails.all()) == []
    store.put(png(seed=1))  # somebody brings it again
    with Image.open(BytesIO(thumbnail(store, digest, 96))) as small:
        assert small.format == "WEBP"
    assert [file.name for file in store.thumbnails.all()] == [thumbnail_name(digest, 96)]


def test_more_jobs_are_erased_than_a_statement_may_have_parameters(sessions: Sessions) -> None:
    with sessions() as session:
        history = make.history(session, make.user(session))
        version = make.version(session, history, 1, "rex")
        session.execute(text("SET LOCAL session_replication_role = replica"))  # it looks up no keys, which takes long
        for statement in _MANY_GENERATIONS:
            named = {"owner": history.owner_id, "history": history.id, "version": version.id, "many": TOO_MANY}
            session.execute(text(statement), named)
        forgetting = make.forgetting(session, history, "rex")
        erase_rows(session, forgetting)
        session.commit()
        assert session.scalars(select(Job.id)).all() == [forgetting.job_id]


def test_more_files_are_proved_to_be_gone_than_a_statement_may_have_parameters(
    sessions: Sessions, store: BlobStore
) -> None:
    doomed = [Doomed(f"{number:064x}", "a picture made with it") for number in range(TOO_MANY)]
    with sessions() as session:
        assert len(prove(session, store, doomed, [1])["removed"]) == TOO_MANY
        session.add(Blob(sha256=doomed[-1].sha256, size_bytes=1, media_type="image/png"))
        session.flush()
        with pytest.raises(NotErased, match="1 of the erased files is still there"):
            prove(session, store, doomed, [1])


_MANY_GENERATIONS = (
    """
    INSERT INTO jobs (id, owner_id, history_id, kind, state, settings, attempt, times_lost, max_attempts,
                      cancel_requested, stage, step, steps_total, progress)
    SELECT md5(one::text)::uuid, :owner, :history, 'generate', 'done', '{}', 1, 0, 3, false, '', 0, 0, '{}'
    FROM generate_series(1, :many) AS one
    """,
    """
    INSERT INTO generations (id, history_id, job_id, version_id, prompt, negative_prompt, seed, count, steps, guidance,
                             sampler, width_px, height_px)
    SELECT id, history_id, id, :version, 'a <rex> dog', '', 1, 1, 4, 4, 'ddim', 64, 64
    FROM jobs WHERE kind = 'generate'
    """,
)
