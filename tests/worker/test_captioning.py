"""Captions for pictures that wait on a teaching page: written in a turn of the engine, missed by nobody."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import func, select, update

from app.blobs import keep
from app.concepts.captions import Written, captions_for
from app.concepts.models import Upload, UploadCaption
from app.db import UnitOfWork
from app.histories.models import BaseModelRow
from app.jobs.models import JobState
from app.queue import CAPTION, queue_of
from app.storage import StorageAway
from tests.tiny_clip import random_pictures
from tests.worker.world import World, png_of
from worker import captioning, current
from worker.learning import learn
from worker.process import Worker
from worker.tasks import celery, write_captions


@pytest.fixture(autouse=True)
def _this_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "_worker", worker)


def upload(world: World, picture: Image.Image, name: str = "ada") -> UUID:
    """A picture that waits, as the web process keeps it."""
    with world.sessions.begin() as session:
        digest = keep(session, world.store, png_of(picture), "image/png")
        size = {"width_px": picture.width, "height_px": picture.height}
        made = Upload(owner_id=world.user(name), blob_sha256=digest, file_name="x.png", **size)
        session.add(made)
        session.flush()
        return made.id


def ask(world: World, history_id: UUID, name: str = "ada") -> tuple[dict[UUID, Written | None], list[dict[str, str]]]:
    """What the page of a history is told, and the messages that it sent."""
    rung: list[dict[str, str]] = []

    def send(task: str, *, kwargs: dict[str, str], queue: str) -> None:
        assert (task, queue) == (CAPTION, queue_of(CAPTION, kwargs["base_id"]))
        rung.append(kwargs)

    return captions_for(UnitOfWork(world.sessions, send), world.user(name), history_id), rung


def test_the_task_is_known_by_the_name_that_the_web_process_sends() -> None:
    assert CAPTION in celery.tasks


def test_every_waiting_picture_gets_the_caption_that_its_learning_would_write(worker: Worker, world: World) -> None:
    history, pictures = world.history(), random_pictures(7)
    uploads = [upload(world, picture) for picture in pictures]
    known, rung = ask(world, history)
    assert known == dict.fromkeys(uploads)
    assert rung == [{"base_id": world.base_id}]
    for message in [*rung, *rung]:  # delivered twice, it changes nothing
        write_captions(**message)
    written, again = ask(world, history)
    assert again == []
    assert written.keys() == set(uploads)
    of_things, of_manners = (worker.equipment.captioner.caption(pictures, noun) for noun in ("thing", "drawing"))
    facts = worker.equipment.facts()
    for one, thing, manner in zip(uploads, of_things, of_manners, strict=True):
        found = written[one]
        assert found is not None
        assert found.template == thing.replace("thing", "{noun}", 1)
        assert found.template.startswith("a photo of a {noun}")
        assert found.about("dog", facts) == thing.replace("thing", "dog")
        assert found.subject
        assert found.about("drawing", facts) == f"a drawing of {found.subject}"
        assert manner.startswith("a drawing of ")


def test_a_worker_leaves_what_is_asked_of_another_base(worker: Worker, world: World) -> None:
    with world.sessions.begin() as session:
        session.add(BaseModelRow(id="f" * 64, source="other", facts={"name": "other"}))
    (one,) = [upload(world, picture) for picture in random_pictures(1)]
    _, rung = ask(world, world.history(base_id="f" * 64))
    write_captions(**rung[0])
    with world.sessions() as session:
        assert session.scalars(select(UploadCaption.caption)).all() == [None]
    _, mine = ask(world, world.history(name="others"))
    write_captions(**mine[0])
    with world.sessions() as session:
        rows = session.execute(select(UploadCaption.upload_id, UploadCaption.base_id, UploadCaption.caption)).all()
    assert {(upload_id, base, caption is not None) for upload_id, base, caption in rows} == {
        (one, "f" * 64, False),
        (one, world.base_id, True),
    }


def test_what_cannot_be_captioned_is_left_to_its_learning(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails:
        def caption(self, _pictures: Sequence[Any], _noun: str) -> list[str]:
            raise RuntimeError("no words")

    history = world.history()
    (one,) = [upload(world, picture) for picture in random_pictures(1)]
    _, rung = ask(world, history)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "equipment", replace(worker.equipment, captioner=Fails()))
        write_captions(**rung[0])
    known, again = ask(world, history)
    assert (known, again) == ({one: Written()}, [])
    assert worker.captioning.acquire(blocking=False)
    worker.captioning.release()
    assert learn(worker, job := world.learning(history, steps=2))  # the engine goes on
    assert world.job(job).state == JobState.DONE


def test_while_the_storage_is_away_captions_wait(worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    history = world.history()
    uploads = [upload(world, picture) for picture in random_pictures(2)]
    _, rung = ask(world, history)
    read, asked = world.store.get, Counter[str]()

    def hiccup(digest: str) -> bytes:
        asked["times"] += 1
        if asked["times"] == 2:
            raise StorageAway("It does not answer.")
        return read(digest)

    monkeypatch.setattr(worker.store, "get", hiccup)
    write_captions(**rung[0])
    assert (ask(world, history)[0], asked["times"]) == (dict.fromkeys(uploads), 2)
    write_captions(**rung[0])  # as whoever looks at the page rings again
    assert all(found and found.template for found in ask(world, history)[0].values())


def test_a_picture_that_is_damaged_costs_no_other_its_caption(worker: Worker, world: World) -> None:
    history = world.history()
    uploads = [upload(world, picture) for picture in random_pictures(4)]
    with world.sessions.begin() as session:
        digests = [session.get_one(Upload, one).blob_sha256 for one in uploads[:2]]
        no_picture = keep(session, world.store, b"no picture", "image/png")
        session.get_one(Upload, uploads[2]).blob_sha256 = no_picture
    world.spoil(digests[0])
    world.store.remove(digests[1])
    _, rung = ask(world, history)
    write_captions(**rung[0])
    known, again = ask(world, history)
    assert again == []
    assert [known[one] for one in uploads[:3]] == [Written()] * 3
    assert (known[uploads[3]] or Written()).template.startswith("a photo of a {noun}")


def test_a_picture_that_the_captioner_fails_for_costs_no_other_its_caption(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = worker.equipment.captioner

    class FailsForTheSmall:
        def caption(self, pictures: Sequence[Image.Image], noun: str) -> list[str]:
            if any(picture.width == 8 for picture in pictures):
                raise RuntimeError("no words")
            return captioner.caption(pictures, noun)

    history = world.history()
    small, *others = [upload(world, picture) for picture in (Image.new("RGB", (8, 8)), *random_pictures(2))]
    _, rung = ask(world, history)
    monkeypatch.setattr(worker, "equipment", replace(worker.equipment, captioner=FailsForTheSmall()))
    write_captions(**rung[0])
    known, again = ask(world, history)
    assert (known[small], again) == (Written(), [])
    assert all((known[one] or Written()).template for one in others)


@pytest.fixture
def once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker stops when it has written what it takes in one turn."""
    keep_all = captioning._keep

    def keep_and_stop(*given: Any) -> None:
        keep_all(*given)
        worker.hands.stop()

    monkeypatch.setattr(captioning, "_keep", keep_and_stop)


@pytest.mark.usefixtures("once")
def test_nobody_waits_for_all_the_captions_of_another(world: World) -> None:
    hers, his = world.history("ada"), world.history("ben")
    for picture in random_pictures(captioning.AT_ONCE + 1):
        upload(world, picture, "ada")
    _, rung = ask(world, hers, "ada")
    one = upload(world, random_pictures(1, seed=5)[0], "ben")
    ask(world, his, "ben")
    write_captions(**rung[0])
    known, _ = ask(world, his, "ben")
    assert known[one] is not None


@pytest.mark.usefixtures("once")
def test_whoever_rings_again_keeps_their_place(world: World) -> None:
    history, pictures = world.history(), random_pictures(2 * captioning.AT_ONCE)
    older = [upload(world, picture) for picture in pictures[: captioning.AT_ONCE]]
    ask(world, history)
    a_while_ago = {"asked_at": func.now() - timedelta(minutes=1), "rung_at": func.now() - timedelta(minutes=1)}
    with world.sessions.begin() as session:
        session.execute(update(UploadCaption).values(**a_while_ago))
    younger = [upload(world, picture) for picture in pictures[captioning.AT_ONCE :]]
    _, rung = ask(world, history)
    assert ask(world, history)[1] == []  # but not for a while
    write_captions(**rung[0])
    known, _ = ask(world, history)
    assert [known[one] is not None for one in (*older, *younger)] == [True] * len(older) + [False] * len(younger)


def test_a_worker_that_stops_takes_nothing_new(worker: Worker, world: World) -> None:
    history = world.history()
    (one,) = [upload(world, picture) for picture in random_pictures(1)]
    _, rung = ask(world, history)
    worker.hands.stop()
    write_captions(**rung[0])
    assert ask(world, history)[0] == {one: None}
