"""Those who follow jobs may leave at any moment, and take nothing with them. They are so many at a time, and no longer
than they may.
"""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import redis
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.accounts import service
from app.accounts.models import LoginSession
from app.db import Sessions, UnitOfWork
from app.deps import SESSION_COOKIE
from app.jobs import stream
from app.jobs.channel import channel_of
from app.jobs.stream import MOST_OPEN, follow, wait_until_ended
from app.metrics import REGISTRY
from app.security import digest_of
from app.state import State
from tests.app.opened import Opened, in_a_loop_of_its_own
from tests.app.person import Person


def test_who_is_cancelled_again_while_leaving_leaves_no_connection_behind(client: TestClient, redis_url: str) -> None:
    state = cast(State, client.app.state.palimpsest)  # type: ignore[attr-defined]
    broker = redis.Redis.from_url(redis_url)
    job_id = uuid4()

    def listeners() -> int:
        return int(broker.pubsub_numsub(channel_of(job_id))[0][1])

    async def leave() -> None:
        listening = asyncio.ensure_future(anext(follow(state, {job_id: 0})))
        async with asyncio.timeout(10):
            while not listeners():
                await asyncio.sleep(0)
            while not listening.done():  # as a server does that cancels a scope: again at each wait
                listening.cancel()
                await asyncio.sleep(0)
            while listeners():
                await asyncio.sleep(0)

    gc.disable()  # what only the collector would close is left behind
    try:
        with ThreadPoolExecutor(1) as thread:  # the browser's tests may have a loop on this one
            thread.submit(lambda: asyncio.run(leave())).result()
    finally:
        gc.enable()
    broker.close()


def test_waiting_for_a_job_ends_with_its_time_wherever_that_comes(ada: Person) -> None:
    """Also while the connection to Redis is being opened, where a cancellation could get lost."""
    state = cast(State, ada.client.app.state.palimpsest)  # type: ignore[attr-defined]
    asked = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a mug"})
    job_id = UUID(asked.json()["job"]["id"])

    async def wait_often() -> None:
        async with asyncio.timeout(60):
            for count in range(200):
                await wait_until_ended(state, job_id, seconds=count / 10_000)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(wait_often())).result()


def test_who_opens_streams_without_end_is_told_to_close_one_and_holds_no_connection_by_the_others(
    client: TestClient, ada: Person, bob: Person
) -> None:
    app = cast(Any, client.app)
    path = f"/api/v1/jobs/{ada.teach('rex').json()['job']['id']}/events"
    others = f"/api/v1/jobs/{bob.teach('momo').json()['job']['id']}/events"

    async def open_many() -> None:
        streams = [Opened(app, path, key_of(ada)) for _ in range(MOST_OPEN)]
        assert {await each.status() for each in streams} == {200}
        one_more = Opened(app, path, key_of(ada))
        assert await one_more.status() == 429
        await one_more.leave()
        assert b"You have 20 streams of events open. Close one" in one_more.said
        async with asyncio.timeout(30):
            while app.state.palimpsest.reading.pool.checkedout():
                await asyncio.sleep(0.01)
        others_own = Opened(app, others, key_of(bob))
        assert await others_own.status() == 200
        await streams.pop().leave()
        in_its_place = Opened(app, path, key_of(ada))
        assert await in_its_place.status() == 200
        for each in (*streams, others_own, in_its_place):
            await each.leave()

    in_a_loop_of_its_own(open_many())
    assert not stream._open


def test_a_stream_is_measured_until_it_begins_and_counted_once(client: TestClient, ada: Person) -> None:
    path = f"/api/v1/jobs/{ada.teach('rex').json()['job']['id']}/events"
    labels = {"route": "/api/v1/jobs/{job_id}/events"}

    def measured() -> float:
        return REGISTRY.get_sample_value("palimpsest_request_seconds_count", labels) or 0.0

    before = measured()

    async def follow_it() -> None:
        followed = Opened(client.app, path, key_of(ada))
        assert await followed.status() == 200
        assert measured() == before + 1
        await followed.leave()

    in_a_loop_of_its_own(follow_it())
    assert measured() == before + 1


def key_of(person: Person) -> dict[str, str]:
    return {"authorization": f"Bearer {person.key}"}


def lock_out(uow: UnitOfWork, person: Person) -> None:
    service.change_user(uow, uuid4(), person.id, disabled=True)


def revoke_key(uow: UnitOfWork, person: Person) -> None:
    with uow:
        (key,) = service.list_api_keys(uow.session, person.id)
    service.revoke_api_key(uow, person.id, key.id)


def end_session(uow: UnitOfWork, person: Person) -> None:
    with uow:
        (login,) = service.list_sessions(uow.session, person.id)
    service.revoke_session(uow, person.id, login.id)


@pytest.mark.parametrize("put_out", [lock_out, revoke_key, end_session])
def test_a_stream_ends_when_whoever_opened_it_is_put_out(
    client: TestClient,
    ada: Person,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    put_out: Callable[[UnitOfWork, Person], None],
) -> None:
    monkeypatch.setattr(stream, "LOOK_AGAIN_EVERY_S", 0.0)
    uow = UnitOfWork(sessions, lambda *_args, **_kwargs: None)
    path = f"/api/v1/jobs/{ada.teach('rex').json()['job']['id']}/events"
    with sessions() as session:
        until = session.scalar(text("SELECT now() + interval '1 day'"))
        session.add(LoginSession(user_id=ada.id, token_sha256=digest_of("a token"), csrf_token="", expires_at=until))
        session.commit()
    headers = {"cookie": f"{SESSION_COOKIE}=a token"} if put_out is end_session else key_of(ada)

    async def watch() -> None:
        watched = Opened(client.app, path, headers)
        assert await watched.status() == 200
        async with asyncio.timeout(30):
            while b"queued" not in watched.said:
                await asyncio.sleep(0.01)
            assert not watched.ended.done()
            await asyncio.to_thread(put_out, uow, ada)
            await watched.ended
        again = Opened(client.app, path, headers)
        assert await again.status() == 401
        await again.leave()

    in_a_loop_of_its_own(watch())
