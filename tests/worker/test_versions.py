"""Deltas are read from the storage by whoever needs them, and keep nobody waiting who does not."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import NotFound
from app.storage import BlobStore
from cns.base_model import BaseModel
from cns.delta import Delta
from tests.cns.test_compose import make_delta
from tests.worker.processes import PATIENCE_S
from worker.equipment import Equipment
from worker.versions import Versions


class SlowStore(BlobStore):
    """Does not answer for one digest until it is let. asked: how often it was asked for that one."""

    def __init__(self, store: BlobStore, slow: str):
        super().__init__(store.blobs, store.thumbnails)
        self.slow, self.asked = slow, 0
        self.reached, self.let = threading.Event(), threading.Event()

    def get(self, digest: str) -> bytes:
        if digest == self.slow:
            self.asked += 1
            self.reached.set()
            assert self.let.wait(PATIENCE_S)
        return super().get(digest)


@pytest.fixture
def base(equipment: Equipment) -> BaseModel:
    return equipment.base


@pytest.fixture
def deltas(base: BaseModel, store: BlobStore) -> list[Delta]:
    """Three that are stored."""
    made = [make_delta(base, name, seed=len(name)) for name in ("a", "bb", "ccc")]
    for delta in made:
        store.put(delta.to_bytes())
    return made


@pytest.fixture
def slow(store: BlobStore, deltas: list[Delta]) -> Iterator[SlowStore]:
    """The storage is slow with the first of them."""
    made = SlowStore(store, deltas[0].digest)
    yield made
    made.let.set()


@pytest.fixture
def readers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_while_one_delta_is_read_the_others_can_be_had_and_dropped(
    base: BaseModel, slow: SlowStore, deltas: list[Delta], readers: ThreadPoolExecutor
) -> None:
    first, second, third = (delta.digest for delta in deltas)
    versions = Versions(base, slow)
    versions.deltas([second])
    waits = readers.submit(versions.deltas, [second, first])
    assert slow.reached.wait(PATIENCE_S)
    assert [delta.digest for delta in readers.submit(versions.deltas, [second, third]).result(PATIENCE_S)] == [
        second,
        third,
    ]
    readers.submit(versions.drop, {third}).result(PATIENCE_S)
    assert not waits.done()
    slow.let.set()
    assert [delta.digest for delta in waits.result(PATIENCE_S)] == [second, first]


def test_what_several_need_at_the_same_time_is_read_once(
    base: BaseModel, slow: SlowStore, deltas: list[Delta], readers: ThreadPoolExecutor
) -> None:
    versions = Versions(base, slow)
    waiting = [readers.submit(versions.deltas, [deltas[0].digest]) for _ in range(3)]
    assert slow.reached.wait(PATIENCE_S)
    slow.let.set()
    (one,), *others = [each.result(PATIENCE_S) for each in waiting]
    assert all(other[0] is one for other in others)
    assert (slow.asked, versions.deltas([one.digest])[0] is one) == (1, True)


def test_what_is_dropped_while_it_is_read_does_not_come_back_into_memory(
    base: BaseModel, slow: SlowStore, deltas: list[Delta], readers: ThreadPoolExecutor
) -> None:
    """An erasure drops it and removes its file: whoever asks afterwards is told that it is gone."""
    digest = deltas[0].digest
    versions = Versions(base, slow)
    reading = readers.submit(versions.deltas, [digest])
    assert slow.reached.wait(PATIENCE_S)
    versions.drop({digest})
    slow.let.set()
    assert reading.result(PATIENCE_S)[0].digest == digest
    slow.remove(digest)
    with pytest.raises(NotFound):
        versions.deltas([digest])


def test_a_delta_that_could_not_be_read_is_asked_for_again(base: BaseModel, store: BlobStore) -> None:
    delta = make_delta(base, "a", seed=1)
    versions = Versions(base, store)
    with pytest.raises(NotFound):
        versions.deltas([delta.digest])
    store.put(delta.to_bytes())
    assert versions.deltas([delta.digest])[0].digest == delta.digest
