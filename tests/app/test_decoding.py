"""However many pictures are sent at once, everybody else is answered, and nobody waits for all that another sent."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AsyncExitStack, ExitStack, contextmanager
from uuid import UUID, uuid4

import httpx
import pytest

from app import decoding, pictures
from app.decoding import MOST_IN_THREADS, OWN_IN_THREADS, OWN_MOST, Decoding
from tests.app.person import Person, png

PATIENCE_S = 60.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(50) as made:
        yield made


@contextmanager
def decoders_at_work() -> Iterator[None]:
    """Both, with pictures that take long."""
    with ExitStack() as held:
        for _ in range(2):
            assert pictures._DECODING.acquire(timeout=PATIENCE_S)
            held.callback(pictures._DECODING.release)
        yield


def upload(person: Person, seed: int = 0) -> httpx.Response:
    files = {"pictures": (f"{seed}.png", png(seed), "image/png")}
    return person.client.post("/uploads", headers={"Authorization": f"Bearer {person.key}"}, files=files)


def wait_for(asked: list[Future[httpx.Response]], count: int) -> list[httpx.Response]:
    """Until so many are answered."""
    while sum(one.done() for one in asked) < count:
        open_ones = [one for one in asked if not one.done()]
        assert wait(open_ones, PATIENCE_S, FIRST_COMPLETED).done, "Nobody was answered any more."
    return [one.result() for one in asked if one.done()]


def test_whoever_sends_forty_pictures_at_once_keeps_nobody_waiting(
    ada: Person, bob: Person, pool: ThreadPoolExecutor
) -> None:
    with decoders_at_work():
        asked = [pool.submit(upload, ada, seed) for seed in range(40)]
        refused = wait_for(asked, 40 - OWN_MOST)
        assert pool.submit(bob.ask, "GET", "/me").result(PATIENCE_S).json()["name"] == "bob"
    for answer in refused:
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
        assert "20 of your requests" in answer.json()["detail"]
    assert sorted(one.status_code for one in wait_for(asked, 40)) == [201] * OWN_MOST + [429] * (40 - OWN_MOST)


def test_what_all_together_send_too_many_of_is_refused_for_a_while(
    ada: Person, bob: Person, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MOST", 1)
    with decoders_at_work():
        asked = [pool.submit(upload, one) for one in (ada, bob)]
        (refused,) = wait_for(asked, 1)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert refused.json()["detail"] == "More pictures were sent than the server can look at. Try again in 10 seconds."
    assert sorted(one.status_code for one in wait_for(asked, 2)) == [201, 503]
    assert upload(bob).status_code == 201


def test_whoever_has_sent_little_comes_before_the_rest_of_whoever_has_sent_much() -> None:
    async def send_all() -> tuple[list[UUID], list[UUID]]:
        places, order, over = Decoding(), list[UUID](), asyncio.Event()

        async def send(owner_id: UUID) -> None:
            async with places.place(owner_id):
                order.append(owner_id)
                await over.wait()

        many = [uuid4() for _ in range(MOST_IN_THREADS // OWN_IN_THREADS)]
        tasks = [asyncio.create_task(send(owner_id)) for owner_id in many for _ in range(OWN_IN_THREADS + 1)]
        late = uuid4()
        tasks.append(asyncio.create_task(send(late)))
        await asyncio.sleep(0)
        assert len(order) == MOST_IN_THREADS
        over.set()
        await asyncio.gather(*tasks)
        assert not places._in_threads
        return order, [late, *many]

    order, following = asyncio.run(send_all())
    assert order[MOST_IN_THREADS:] == following


def test_whoever_gives_up_while_they_wait_or_are_let_in_leaves_their_place() -> None:
    async def give_up(*, once_let_in: bool) -> None:
        places, owner_id = Decoding(), uuid4()

        async def send() -> None:
            async with places.place(owner_id):
                raise AssertionError("It was given up.")

        async with AsyncExitStack() as held:
            for _ in range(OWN_IN_THREADS):
                await held.enter_async_context(places.place(owner_id))
            task = asyncio.create_task(send())
            await asyncio.sleep(0)
            if once_let_in:
                await held.aclose()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (places._waiting, places._in_threads.total()) == ([], 0)

    asyncio.run(give_up(once_let_in=False))
    asyncio.run(give_up(once_let_in=True))


def test_the_words_are_looked_at_before_the_pictures(ada: Person, pool: ThreadPoolExecutor) -> None:
    """Which then need not be decoded."""
    for wrong, field in (
        ({"class_noun": " "}, "class_noun"),
        ({"captions": '["of one"]'}, "captions"),
        ({"settings": '{"steps": 0}'}, "settings.steps"),
    ):
        with decoders_at_work():
            refused = pool.submit(ada.teach, "rex", data=wrong).result(PATIENCE_S)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


def test_no_more_files_of_a_form_are_looked_at_than_a_concept_takes(ada: Person) -> None:
    """Those that are refused count too."""
    files = [("pictures", (f"{number}.svg", b"<svg/>", "image/png")) for number in range(25)]
    headers = {"Authorization": f"Bearer {ada.key}", "Accept": "text/html"}
    page = ada.client.post(f"/histories/{ada.history_id}/teach", data={"name": "rex"}, files=files, headers=headers)
    assert page.status_code == 422
    assert page.text.count("is a text with markup") == 20
    assert page.text.count(".svg: 20 pictures are the most that one concept takes.") == 5
