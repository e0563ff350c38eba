"""Strangers may ask whether all is ready as often as they like, and cost one look a moment."""

import asyncio
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from app.shared_answer import SharedAnswer
from app.storage import BlobStore


class Probed(BlobStore):
    """Counts how often somebody tries to write there."""

    def __init__(self, store: BlobStore):
        super().__init__(store.blobs, store.thumbnails)
        self.probes = 0

    def check_writable(self) -> None:
        self.probes += 1
        super().check_writable()


@pytest.fixture
def probed(client: TestClient, store: BlobStore) -> Probed:
    return Probed(store)


def serve(client: TestClient, store: BlobStore, keep_s: float) -> None:
    app = cast(Any, client.app)
    app.state.palimpsest = replace(app.state.palimpsest, store=store, readiness=SharedAnswer(keep_s))


def test_twenty_who_ask_within_the_moment_write_one_probe(client: TestClient, probed: Probed) -> None:
    serve(client, probed, 3600.0)
    assert {client.get("/readyz").status_code for _ in range(20)} == {200}
    assert probed.probes == 1


def test_when_the_moment_is_over_it_is_looked_at_again(client: TestClient, probed: Probed) -> None:
    serve(client, probed, 0.0)
    assert client.get("/readyz").json()["storage"] == "ok"
    shutil.rmtree(probed.blobs.folder)
    probed.blobs.folder.write_bytes(b"")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["storage"]) == (503, "cannot be reached (StorageAway)")
    assert probed.probes == 2


def test_those_who_wait_hold_one_thread_together_and_who_leaves_takes_it_from_nobody() -> None:
    begun, may_end, asked = threading.Event(), threading.Event(), []

    def work() -> str:
        asked.append(threading.get_ident())
        begun.set()
        assert may_end.wait(30)
        return "ok"

    async def ask() -> list[str]:
        answer = SharedAnswer[str](0.0)
        first, *others = [asyncio.create_task(answer.get(work)) for _ in range(20)]
        await asyncio.to_thread(begun.wait, 30)
        first.cancel()
        late = asyncio.create_task(answer.get(work))
        await asyncio.wait([first])
        may_end.set()
        return await asyncio.gather(*others, late)

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: asyncio.run(ask())).result() == ["ok"] * 20
    assert len(asked) == 1
