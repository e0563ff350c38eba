"""The demo's calls: streams that break off, answers that refuse, jobs that fail, lists on several pages."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from demo import rest
from demo.rest import Program, Refused, read_events

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "AGAIN_S", 0.0)


def program(answer: Answer, look_around: Callable[[], None] = lambda: None) -> Program:
    return Program("http://service/api/v1", "pk_secret", look_around, httpx.MockTransport(answer))


def event(kind: str, data: dict[str, Any], event_id: int | None = None) -> bytes:
    named = f"id: {event_id}\n" if event_id is not None else ""
    return f"{named}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def progress(stage: str, step: int, total: int) -> dict[str, Any]:
    return {"stage": stage, "step": step, "steps_total": total}


class Breaking(httpx.SyncByteStream):
    """Some bytes, and then the connection is gone."""

    def __init__(self, said: bytes):
        self.said = said

    def __iter__(self) -> Iterator[bytes]:
        yield self.said
        raise httpx.ReadError("gone")


def test_a_stream_that_breaks_off_is_taken_up_after_what_was_heard() -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer pk_secret"
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={"id": "j", "state": "running" if len(asked) < 2 else "done"})
        asked.append(request.headers.get("last-event-id"))
        if len(asked) == 1:
            first = event("progress", progress("captions", 0, 1), 7) + event("progress", progress("learning", 3, 9))
            return httpx.Response(200, stream=Breaking(first))
        return httpx.Response(200, content=event("progress", progress("learning", 9, 9), 9))

    seen: list[tuple[str, int, int]] = []
    with program(answer) as caller:
        job = caller.watch("j", lambda *told: seen.append(told))
    assert job["state"] == "done"
    assert asked == [None, "7"]
    # The first stage is told to be done when the next one begins.
    assert seen == [("captions", 0, 1), ("captions", 1, 1), ("learning", 3, 9), ("learning", 9, 9), ("learning", 9, 9)]


def test_comments_and_events_without_data_are_passed_over() -> None:
    lines = iter([": still here", "", "event: odd", "", "id: 4", "event: state", 'data: {"state": "done"}', ""])
    assert list(read_events(lines)) == [("state", {"state": "done"}, "4")]


def test_a_refusal_is_told_in_the_words_of_the_service() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        problem = {"detail": "This version does not know <rex>. It knows <momo>.", "status": 422}
        return httpx.Response(422, json=problem, headers={"content-type": "application/problem+json"})

    with program(answer) as caller, pytest.raises(Refused, match="422, This version does not know <rex>"):
        caller.generate("h", prompt="a photo of <rex> dog")


def test_a_refusal_without_a_sentence_is_told_all_the_same() -> None:
    with program(lambda _: httpx.Response(502, text="<html>")) as caller, pytest.raises(Refused, match="502, Bad Gate"):
        caller.get("/me")


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"state": "failed", "error": "The loss is not a number any more."}, "The loss is not a number"),
        ({"state": "cancelled", "error": None}, "The job ended as cancelled"),
    ],
)
def test_a_job_that_does_not_end_well_is_an_error(job: dict[str, Any], told: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        content = event("state", {"state": job["state"]}, 1)
        return httpx.Response(200, content=content) if "events" in request.url.path else httpx.Response(200, json=job)

    with program(answer) as caller, pytest.raises(Refused, match=told):
        caller.watch("j", lambda *_: None)


def test_pictures_that_take_longer_than_one_answer_are_waited_for() -> None:
    looked = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            assert request.headers["prefer"] == f"wait={rest.WAIT_S}"
            return httpx.Response(202, json={"id": "g", "job": {"id": "j", "state": "running"}})
        if request.url.path.endswith("/events"):
            return httpx.Response(200, content=event("state", {"state": "done"}, 1))
        done = {"id": "j", "state": "done", "error": None}
        return httpx.Response(200, json=done if "/jobs/" in request.url.path else {"id": "g", "job": done})

    with program(answer, lambda: looked.append(1)) as caller:
        assert caller.generate("h", prompt="a mug")["job"]["state"] == "done"
    assert looked


def test_whoever_looks_around_ends_the_waiting() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Breaking(b""), json=None)

    def all_is_lost() -> None:
        raise RuntimeError("the worker is gone")

    with program(answer, all_is_lost) as caller, pytest.raises(RuntimeError, match="the worker is gone"):
        caller.watch("j", lambda *_: None)


def test_versions_come_from_as_many_pages_as_there_are() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        after = request.url.params.get("cursor")
        page = {"items": [{"number": 1}], "next": "c2"} if after is None else {"items": [{"number": 2}], "next": None}
        return httpx.Response(200, json=page)

    with program(answer) as caller:
        assert [version["number"] for version in caller.versions("h")] == [1, 2]
