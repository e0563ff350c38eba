"""Requests that wait for pictures: so many of one user's, as long as somebody is there to be answered and may be."""

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, cast

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.accounts import service
from app.config import Settings
from app.db import Sessions, UnitOfWork
from app.generations.models import Generation
from app.jobs import long_waits, stream
from app.jobs.long_waits import MOST_WAITING
from app.serve import Server, make_server
from app.state import State
from tests.app.opened import Opened, in_a_loop_of_its_own
from tests.app.person import Person, make_person
from tests.worker.processes import wait_until

OPENAIS = "/v1/images/generations"
ASKED = {"model": "pets", "prompt": "a mug"}


def key_of(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.key}"}


def waiting_for(person: Person) -> set[Any]:
    return set(long_waits._waiting.get(person.id, ()))


async def open_many(person: Person) -> list[Opened]:
    """As many as may wait, all of which do."""
    opened = [Opened(person.client.app, OPENAIS, key_of(person), ASKED) for _ in range(MOST_WAITING)]
    async with asyncio.timeout(60):
        while await asyncio.to_thread(count_asked, person) < MOST_WAITING:
            await asyncio.sleep(0.01)
    return opened


async def leave_all(*opened: Opened) -> None:
    """At once: each is seen to be gone within two seconds."""
    await asyncio.gather(*(one.leave() for one in opened))


def count_asked(person: Person) -> int:
    state = cast(State, person.client.app.state.palimpsest)  # type: ignore[attr-defined]
    with state.readers() as session:
        return session.scalar(select(func.count()).select_from(Generation)) or 0


def test_who_lets_too_many_wait_is_refused_before_anything_is_begun_or_answered_at_once_and_follows_jobs_as_before(
    ada: Person,
) -> None:
    rest = f"/api/v1/histories/{ada.history_id}/generations"

    async def ask() -> None:
        waiting = await open_many(ada)
        one_more = Opened(ada.client.app, OPENAIS, key_of(ada), ASKED)
        assert await one_more.status() == 429
        assert "20 of your requests are being waited for." in (await one_more.answer())["error"]["message"]
        assert await asyncio.to_thread(count_asked, ada) == MOST_WAITING
        at_once = Opened(ada.client.app, rest, {**key_of(ada), "Prefer": "wait=60"}, {"prompt": "a mug"})
        assert await at_once.status() == 202
        job = (await at_once.answer())["job"]
        assert (job["state"], "preference-applied" in at_once.headers) == ("queued", False)
        followed = Opened(ada.client.app, f"/api/v1/jobs/{job['id']}/events", key_of(ada))
        assert await followed.status() == 200
        await leave_all(*waiting, followed)

    in_a_loop_of_its_own(ask())
    assert not waiting_for(ada)


def test_a_place_ends_with_its_client_whose_job_goes_on(ada: Person) -> None:
    rest = f"/api/v1/histories/{ada.history_id}/generations"

    async def ask() -> None:
        waiting = await open_many(ada)
        for one in waiting:
            one.lose()
        next_one = Opened(ada.client.app, OPENAIS, key_of(ada), ASKED)  # whether its places are looked at yet or not
        by_rest = Opened(ada.client.app, rest, {**key_of(ada), "Prefer": "wait=60"}, {"prompt": "a mug"})
        async with asyncio.timeout(60):
            while await asyncio.to_thread(count_asked, ada) < MOST_WAITING + 2:
                assert not next_one.ended.done()
                await asyncio.sleep(0.01)
        await leave_all(*waiting, next_one, by_rest)  # none of their jobs has ended
        assert {one.said for one in (*waiting, next_one, by_rest)} == {b""}

    in_a_loop_of_its_own(ask())
    assert not waiting_for(ada)
    assert {job["state"] for job in ada.ask("GET", "/jobs").json()["items"]} == {"queued"}


@pytest.mark.parametrize("path", [OPENAIS, "rest"])
def test_whoever_is_put_out_while_they_wait_gets_no_pictures(
    ada: Person, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(stream, "LOOK_AGAIN_EVERY_S", 0.0)
    uow = UnitOfWork(sessions, lambda *_args, **_kwargs: None)
    if path == "rest":
        path = f"/api/v1/histories/{ada.history_id}/generations"

    async def ask() -> None:
        waiting = Opened(ada.client.app, path, {**key_of(ada), "Prefer": "wait=60"}, {"prompt": "a mug"})
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(count_asked, ada):
                await asyncio.sleep(0.01)
        with sessions() as session:
            (key,) = service.list_api_keys(session, ada.id)
        await asyncio.to_thread(service.revoke_api_key, uow, ada.id, key.id)
        assert await waiting.status() == 401

    in_a_loop_of_its_own(ask())


@contextmanager
def served(config: Settings) -> Iterator[tuple[Server, int]]:
    """A server that can be told to stop, and its port."""
    server = make_server(config, "127.0.0.1", 0)
    listening = socket.create_server(("127.0.0.1", 0))
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(server.run, [listening])
        try:
            yield server, listening.getsockname()[1]
        finally:
            server.should_exit = True
            running.result()


def test_a_server_sees_that_a_client_is_gone(config: Settings, sessions: Sessions, client: TestClient) -> None:
    ada = make_person(client, sessions, "ada")
    with served(config) as (_, port):
        asking = HTTPConnection("127.0.0.1", port)
        headers = {**key_of(ada), "Content-Type": "application/json"}
        asking.request("POST", OPENAIS, json.dumps(ASKED), headers)
        wait_until(lambda: len(waiting_for(ada)) == count_asked(ada) == 1, "it waits")
        asking.close()
        wait_until(lambda: not waiting_for(ada), "its place is free")


def test_a_server_that_stops_answers_those_who_wait(config: Settings, sessions: Sessions, client: TestClient) -> None:
    ada = make_person(client, sessions, "ada")
    rest = f"/api/v1/histories/{ada.history_id}/generations"
    with served(config) as (server, port), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as asking:
        with ThreadPoolExecutor(2) as threads:
            openai = threads.submit(asking.post, OPENAIS, json=ASKED, headers=key_of(ada))
            prefers = {**key_of(ada), "Prefer": "wait=60"}
            by_rest = threads.submit(asking.post, rest, json={"prompt": "a mug"}, headers=prefers)
            wait_until(lambda: len(waiting_for(ada)) == count_asked(ada) == 2, "both wait")
            server.should_exit = True
        late = openai.result()
        assert (late.status_code, late.headers["Retry-After"]) == (503, "5")
        assert late.json()["error"]["message"].startswith("These pictures are not ready yet.")
        assert (by_rest.result().status_code, by_rest.result().json()["job"]["state"]) == (202, "queued")
