"""Collecting throws away what nobody refers to, and nothing else."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from app import blobs
from app.accounts.models import LoginSession
from app.blobs import Blob
from app.collect import collect, keep_collecting, references
from app.concepts.models import ConceptPicture, Upload
from app.config import Settings
from app.db import Sessions
from app.forgettings.erasing import Doomed, NotErased, erase_files, prove
from app.idempotency import IdempotencyKey
from app.installation import MARKS, claim
from app.jobs.models import JobEvent
from app.storage import BlobStore
from app.thumbnails import thumbnail, thumbnail_name
from tests.app import make
from tests.app.person import png
from tests.app.s3 import make_old

pytestmark = pytest.mark.usefixtures("each_kind")


def age(sessions: Sessions, store: BlobStore) -> None:
    """Make everything stored two hours old."""
    with sessions() as session:
        session.execute(text("UPDATE blobs SET created_at = now() - interval '2 hours'"))
        session.commit()
    make_old(store)


def store_alone(sessions: Sessions, store: BlobStore, data: bytes) -> str:
    """A blob that nobody refers to."""
    with sessions() as session:
        digest = blobs.keep(session, store, data, "image/png")
        session.commit()
    return digest


def upload(digest: str, owner_id: object) -> Upload:
    return Upload(owner_id=owner_id, blob_sha256=digest, file_name="a.png", width_px=1, height_px=1)


def test_a_referenced_blob_stays_and_an_unreferenced_one_goes(sessions: Sessions, store: BlobStore) -> None:
    with sessions() as session:
        history = make.history(session, make.user(session))
        kept = blobs.keep(session, store, png(seed=1), "image/png")
        gone = blobs.keep(session, store, png(seed=2), "image/png")
        concept = make.concept(session, history)
        session.add(
            ConceptPicture(
                concept_id=concept.id, position=0, blob_sha256=kept, file_name="a.png", width_px=1, height_px=1
            )
        )
        session.commit()
    age(sessions, store)
    done = collect(sessions, store)
    assert (done.blobs, store.has(kept), store.has(gone)) == (1, True, False)
    with sessions() as session:
        assert session.get(Blob, gone) is None


def test_what_was_just_stored_is_left_alone(sessions: Sessions, store: BlobStore) -> None:
    """Its row may be written a moment later."""
    digest = store.put(b"a file whose row is on its way")
    with sessions() as session:
        blobs.keep(session, store, b"a row that nobody names yet", "text/plain")
        session.commit()
    assert collect(sessions, store).blobs == 0
    assert store.has(digest)


def test_a_file_whose_transaction_was_undone_goes_when_it_is_old(sessions: Sessions, store: BlobStore) -> None:
    claim(sessions, store)  # as at the first start, when nothing is stored yet
    with sessions() as session:
        digest = blobs.keep(session, store, b"never committed", "text/plain")
        session.rollback()
    age(sessions, store)
    assert collect(sessions, store).blobs == 1
    assert not store.has(digest)


def test_every_table_that_names_blobs_is_asked() -> None:
    assert len(references()) == 6


def test_a_picture_takes_its_thumbnails_along(sessions: Sessions, store: BlobStore) -> None:
    digest, kept = store_alone(sessions, store, png(seed=1)), store_alone(sessions, store, png(seed=2))
    with sessions() as session:
        session.add(upload(kept, make.user(session).id))
        session.commit()
    for one in (digest, kept):
        thumbnail(store, one, 96)
    age(sessions, store)
    collect(sessions, store)
    assert [file.name for file in store.thumbnails.all()] == [thumbnail_name(kept, 96)]


def test_what_killed_writers_left_on_the_floor_goes_when_it_is_old(sessions: Sessions, store: BlobStore) -> None:
    digest = store_alone(sessions, store, png(seed=1))
    half, orphan = f"{digest[:2]}/.{digest}.0011.part", thumbnail_name("ab" * 32, 96)
    store.blobs.write(half, b"half")
    store.thumbnails.write(orphan, b"of nothing")
    collect(sessions, store)
    assert store.blobs.stat(half)
    assert store.thumbnails.stat(orphan)
    age(sessions, store)
    collect(sessions, store)
    assert {file.name for file in store.blobs.all()} == {file.name for file in store.blobs.all(under=MARKS)}
    assert list(store.thumbnails.all()) == []


def test_what_was_erased_is_proved_to_be_gone_and_what_is_still_there_is_no_proof(
    sessions: Sessions, store: BlobStore
) -> None:
    digest = store_alone(sessions, store, png(seed=1))
    thumbnail(store, digest, 96)
    doomed = [Doomed(digest, "a picture it was taught with")]
    with sessions() as session, pytest.raises(NotErased, match="1 of the erased files is still there"):
        prove(session, store, doomed, [1])
    erase_files(sessions, store, doomed)
    assert (list(store.blobs.all()), list(store.thumbnails.all())) == ([], [])
    with sessions() as session:
        assert prove(session, store, doomed, [1])["removed"] == [{"sha256": digest, "what": doomed[0].what}]
        left = f"{digest[:2]}/.{digest}.left.part"
        store.blobs.write(left, b"half of it")
        with pytest.raises(NotErased):
            prove(session, store, doomed, [1])


def test_what_has_expired_goes(sessions: Sessions, store: BlobStore) -> None:
    with sessions() as session:
        user = make.user(session)
        job = make.learning(session, make.history(session, user))
        for number, until in enumerate(("- interval '1 second'", "+ interval '1 day'")):
            session.add(
                LoginSession(
                    user_id=user.id,
                    token_sha256=f"{number}" * 64,
                    csrf_token=f"{number}",
                    expires_at=session.scalar(text(f"SELECT now() {until}")),
                )
            )
            session.add(IdempotencyKey(user_id=user.id, key=f"{number}", request_sha256="0" * 64, job_id=job.id))
            session.add(upload(blobs.keep(session, store, png(seed=number), "image/png"), user.id))
        session.commit()
        session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = '0'"))
        old = session.scalars(select(Upload.id)).first()
        session.execute(text("UPDATE uploads SET created_at = now() - interval '25 hours' WHERE id = :id"), {"id": old})
        session.commit()
    age(sessions, store)
    assert collect(sessions, store).blobs == 1  # of the upload that went
    with sessions() as session:
        for table in (LoginSession, IdempotencyKey, Upload):
            assert session.scalar(select(func.count()).select_from(table)) == 1, table


def test_ticks_of_a_job_that_ended_a_day_ago_go_and_what_is_told_of_its_end_stays(
    sessions: Sessions, store: BlobStore
) -> None:
    with sessions() as session:
        history = make.history(session, make.user(session))
        for name, hours in (("old", 25), ("fresh", 1), ("on", None)):
            job = make.learning(session, history, name)
            if hours is not None:
                job.finished_at = session.scalar(select(func.now() - timedelta(hours=hours)))
            session.add_all(JobEvent(job_id=job.id, kind=kind, data={"of": name}) for kind in ("progress", "state"))
        session.commit()
    collect(sessions, store)
    with sessions() as session:
        left = [(one.data["of"], one.kind) for one in session.scalars(select(JobEvent).order_by(JobEvent.id))]
    assert left == [("old", "state"), ("fresh", "progress"), ("fresh", "state"), ("on", "progress"), ("on", "state")]


def test_a_blob_that_is_stored_again_while_it_is_collected_is_there_afterwards(
    sessions: Sessions, store: BlobStore
) -> None:
    """Whoever stores and whoever collects wait for each other at the row, so the file cannot go in between."""
    data = [png(seed=number) for number in range(4)]
    with sessions() as session:
        owner = make.user(session).id
    for _ in range(3):
        for one in data:
            store_alone(sessions, store, one)
        age(sessions, store)
        together = threading.Barrier(4)

        def store_them(picture: bytes, together: threading.Barrier = together) -> str:
            with sessions() as session:
                digest = blobs.keep(session, store, picture, "image/png")
                session.add(upload(digest, owner))
                session.commit()
            return digest

        def store_all(together: threading.Barrier = together) -> list[str]:
            together.wait()
            return [store_them(one) for one in data]

        def collect_all(together: threading.Barrier = together) -> list[str]:
            together.wait()
            collect(sessions, store)
            return []

        with ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(each) for each in (store_all, collect_all, collect_all, store_all)]
            digests = {digest for task in tasks for digest in task.result()}
        assert all(store.get(digest) for digest in digests)
        with sessions() as session:
            session.execute(text("DELETE FROM uploads"))
            session.commit()


def test_a_blob_that_is_being_stored_again_is_waited_for(sessions: Sessions, store: BlobStore) -> None:
    digest = store_alone(sessions, store, png(seed=1))
    with sessions() as session:
        owner = make.user(session).id
    age(sessions, store)
    with ThreadPoolExecutor(1) as pool, sessions() as session:
        blobs.keep(session, store, png(seed=1), "image/png")
        make_old(store)  # even then
        collecting = pool.submit(collect, sessions, store)
        session.add(upload(digest, owner))
        with pytest.raises(TimeoutError):
            collecting.result(timeout=0.3)
        session.commit()
        assert collecting.result(timeout=30).blobs == 0
    assert store.get(digest) == png(seed=1)


def test_collecting_over_and_over_outlives_a_database_that_is_away(tmp_path: Path) -> None:
    stop, said = threading.Event(), []

    def say(name: str, line: str) -> None:
        said.append((name, line))
        stop.set()

    nowhere = Settings(database_url="postgresql+psycopg://nobody@/none?host=/nowhere", blob_folder=tmp_path)
    keep_collecting(nowhere, stop, 0.01, say)
    assert said[0][0] == "collect"
    assert said[0][1].startswith("Nothing was collected this time: ")
