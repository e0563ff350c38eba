"""What is thrown away takes no room any more, and what anybody else needs of it stays."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from app import blobs
from app.accounts.models import User
from app.collect import remove_all_unused, remove_unused
from app.concepts import pages
from app.concepts.models import ConceptPicture, Upload
from app.concepts.sample_concepts import SampleConcept
from app.db import Sessions
from app.generations.models import Generation, Image
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person, painted, png


def post(person: Person, path: str, **options: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {person.key}"}
    return person.client.post(path, headers=headers, follow_redirects=False, **options)  # type: ignore[arg-type]


def upload(person: Person, seed: int = 0) -> httpx.Response:
    return post(person, "/uploads", files={"pictures": ("dog.png", png(seed), "image/png")})


def waiting(sessions: Sessions, person: Person) -> list[Upload]:
    with sessions() as session:
        return list(session.scalars(select(Upload).where(Upload.owner_id == person.id).order_by(Upload.created_at)))


@pytest.fixture
def luna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SampleConcept:
    """A sample that fits the base of these tests."""
    (tmp_path / "cat.png").write_bytes(png(4))
    sample = SampleConcept("luna", "cat", (tmp_path / "cat.png",))
    monkeypatch.setattr(pages, "sample_concept", lambda *_: sample)
    return sample


def test_whoever_keeps_as_much_as_they_may_can_upload_nothing_more(
    ada: Person, sessions: Sessions, luna: SampleConcept
) -> None:
    assert upload(ada).status_code == 201
    with sessions() as session:
        session.get_one(User, ada.id).quota_bytes = 1
        session.commit()
    refused = upload(ada, 1)
    assert (refused.status_code, "of the 1 byte that you may keep" in refused.text) == (403, True)
    form = post(ada, f"/histories/{ada.history_id}/teach", files={"pictures": ("cat.png", png(2), "image/png")})
    assert (form.status_code, "of the 1 byte that you may keep" in form.text) == (422, True)
    assert post(ada, f"/histories/{ada.history_id}/samples/luna").status_code == 403
    assert len(waiting(sessions, ada)) == 1


def test_a_dropped_picture_takes_no_room_any_more(
    ada: Person, sessions: Sessions, store: BlobStore, luna: SampleConcept
) -> None:
    home = f"/histories/{ada.history_id}"
    for how in ("card", "form", "sample"):
        assert upload(ada).status_code == 201
        (kept,) = waiting(sessions, ada)
        assert store.has(kept.blob_sha256)
        if how == "card":
            assert post(ada, f"/uploads/{kept.id}/drop").status_code == 204
        elif how == "form":
            assert post(ada, f"{home}/teach", data={"drop": str(kept.id)}).status_code == 200
        else:
            assert post(ada, f"{home}/samples/luna").status_code == 303
        assert not store.has(kept.blob_sha256), how


def test_what_somebody_else_keeps_too_stays(ada: Person, bob: Person, sessions: Sessions, store: BlobStore) -> None:
    upload(ada)
    upload(bob)
    (hers,), (his,) = waiting(sessions, ada), waiting(sessions, bob)
    assert hers.blob_sha256 == his.blob_sha256
    post(ada, f"/uploads/{hers.id}/drop")
    assert store.get(his.blob_sha256)
    post(bob, f"/uploads/{his.id}/drop")
    assert not store.has(his.blob_sha256)


def test_a_deleted_picture_takes_no_room_any_more(ada: Person, sessions: Sessions, store: BlobStore) -> None:
    asked = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a mug", "count": 2})
    job_id = UUID(asked.json()["job"]["id"])
    with sessions() as session:
        generation = session.scalars(select(Generation).where(Generation.job_id == job_id)).one()
        images = [make.image(session, store, generation.id, painted(place), place) for place in range(2)]
    assert ada.ask("DELETE", f"/images/{images[0].id}").status_code == 204
    assert [store.has(one.blob_sha256) for one in images] == [False, True]
    assert post(ada, "/gallery/delete", data={"id": str(images[1].id)}).status_code == 303
    assert not store.has(images[1].blob_sha256)
    with sessions() as session:
        assert session.scalars(select(Image)).all() == []


@pytest.mark.parametrize("over", ["REST", "pages"])
def test_a_deleted_history_takes_no_room_any_more(
    over: str, ada: Person, bob: Person, sessions: Sessions, store: BlobStore
) -> None:
    ada.teach("rex")
    bob.teach("tom")
    with sessions() as session:
        taught = {one.file_name: one.blob_sha256 for one in session.scalars(select(ConceptPicture))}
    if over == "REST":
        assert ada.ask("DELETE", f"/histories/{ada.history_id}").status_code == 204
    else:
        assert post(ada, f"/histories/{ada.history_id}/delete", data={"name": "pets"}).status_code == 303
    assert {name for name, digest in taught.items() if store.has(digest)} == {"tom-0.png", "tom-1.png", "tom-2.png"}


def test_what_is_stored_again_while_it_is_removed_is_there_afterwards(
    each_kind: str, sessions: Sessions, store: BlobStore
) -> None:
    """By others, or by the same person with another request; however often."""
    data = [png(seed) for seed in range(3)]
    with sessions() as session:
        owner = make.user(session).id
    for _ in range(5):
        together = threading.Barrier(4)

        def store_all(together: threading.Barrier = together) -> list[UUID]:
            kept = []
            together.wait()
            for picture in data:
                with sessions() as session:
                    digest = blobs.keep(session, store, picture, "image/png")
                    row = Upload(owner_id=owner, blob_sha256=digest, file_name="a.png", width_px=1, height_px=1)
                    session.add(row)
                    session.commit()
                    kept.append(row.id)
            return kept

        def throw_away(together: threading.Barrier = together) -> list[UUID]:
            together.wait()
            for picture in data:
                with sessions() as session:
                    digest = blobs.keep(session, store, picture, "image/png")
                    session.commit()
                remove_unused(sessions, store, digest)
            remove_all_unused(sessions, store)
            return []

        with ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(each) for each in (store_all, throw_away, throw_away, store_all)]
            kept = {upload_id for task in tasks for upload_id in task.result()}
        with sessions() as session:
            for upload_id in kept:
                assert store.get(session.get_one(Upload, upload_id).blob_sha256)
                session.delete(session.get_one(Upload, upload_id))
            session.commit()
        remove_all_unused(sessions, store)
        assert list(store.digests()) == []
