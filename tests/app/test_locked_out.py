"""Two that change the same rows at once wait for one another at most in one direction."""

import threading
import time

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app import blobs
from app.concepts import api
from app.concepts.service import pictures_of
from app.db import Sessions
from app.jobs.models import Job
from app.storage import BlobStore
from tests.app.person import Person
from tests.app.test_concepts import Teacher, checked

PATIENCE_S = 30.0


class Halting(BlobStore):
    """Stores one file and then waits, with the locks that its transaction holds."""

    def __init__(self, store: BlobStore):
        super().__init__(store.blobs, store.thumbnails)
        self.has_one, self.may_go_on = threading.Event(), threading.Event()

    def put(self, data: bytes) -> str:
        digest = super().put(data)
        self.has_one.set()
        assert self.may_go_on.wait(PATIENCE_S)
        return digest


def until_somebody_waits_for_a_lock(engine: Engine) -> None:
    asked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    give_up = time.monotonic() + PATIENCE_S
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(asked):
            assert time.monotonic() < give_up, "Nobody waits for anybody."
            time.sleep(0.01)


def test_two_that_teach_the_same_pictures_in_opposite_order_are_both_taught(
    ada: Person, bob: Person, sessions: Sessions, store: BlobStore, engine: Engine
) -> None:
    halting = Halting(store)
    first, second = Teacher(ada, sessions, halting), Teacher(bob, sessions, store)
    pictures = checked(3)
    started: list[Job] = []

    def teach(teacher: Teacher, order: int) -> None:
        started.append(teacher.teach(pictures=pictures[::order]))

    threads = [threading.Thread(target=teach, args=one) for one in ((first, 1), (second, -1))]
    threads[0].start()
    assert halting.has_one.wait(PATIENCE_S)
    threads[1].start()
    until_somebody_waits_for_a_lock(engine)
    halting.may_go_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(started) == 2
    with sessions() as session:
        for job in started:
            assert job.concept_id
            names = [one.file_name for one in pictures_of(session, job.concept_id)]
            assert names == ["0.png", "1.png", "2.png"][:: 1 if job.owner_id == ada.id else -1]


def locked_out(sessions: Sessions, store: BlobStore, engine: Engine) -> OperationalError:
    """What the database says to one of two that wait for each other."""
    said: list[OperationalError] = []
    turn = threading.Barrier(2)

    def keep(one: bytes, other: bytes) -> None:
        with sessions() as session:
            try:
                blobs.keep(session, store, one, "image/png")
                turn.wait(PATIENCE_S)
                blobs.keep(session, store, other, "image/png")
                session.commit()
            except OperationalError as error:
                said.append(error)

    threads = [threading.Thread(target=keep, args=pair) for pair in ((b"one", b"other"), (b"other", b"one"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return said[0]


def test_whoever_is_locked_out_is_not_told_that_the_database_is_away(
    ada: Person, sessions: Sessions, store: BlobStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = locked_out(sessions, store, engine)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(api, "check_picture", fail)
    answer = ada.teach("rex")
    assert (answer.status_code, "at the same moment" in answer.json()["detail"]) == (409, True)
