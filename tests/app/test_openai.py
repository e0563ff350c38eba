"""OpenAI's interface for pictures: what its clients send and read, against rows that a worker would have written."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import delete, func, select, update

from app.accounts.models import User
from app.config import Settings
from app.db import Sessions
from app.generations.models import Generation
from app.histories.models import History
from app.idempotency import IdempotencyKey
from app.jobs.models import Job, JobState
from app.main import create_app
from app.openai import api
from app.storage import BlobStore
from tests.app import make
from tests.app.opened import Opened, in_a_loop_of_its_own
from tests.app.person import Person, make_person, png

TOO_LARGE = "The device's memory does not suffice for this picture: make it smaller."
PROMPT = "a photo of a dog on the beach"


class Painter:
    """Does at once what a worker would: `ends` says how, and None leaves it waiting."""

    def __init__(self, sessions: Sessions, store: BlobStore) -> None:
        self.sessions, self.store = sessions, store
        self.ends: JobState | None = JobState.DONE

    def __call__(self, _task: str, *, kwargs: dict[str, str], queue: str) -> None:
        self.paint(UUID(kwargs["job_id"]))

    def paint(self, job_id: UUID) -> None:
        if self.ends is None:
            return
        with self.sessions() as session:
            generation = session.scalars(select(Generation).where(Generation.job_id == job_id)).one()
            if self.ends is JobState.DONE:
                for place in range(generation.count):
                    make.image(session, self.store, generation.id, png(seed=place), place)
            job = session.get_one(Job, job_id)
            job.state, job.error = self.ends, TOO_LARGE if self.ends is JobState.FAILED else None
            job.finished_at = datetime.now(UTC)
            session.commit()


@pytest.fixture
def painter(sessions: Sessions, store: BlobStore) -> Painter:
    return Painter(sessions, store)


@pytest.fixture
def client(config: Settings, painter: Painter) -> Iterator[TestClient]:
    with TestClient(create_app(config, painter), raise_server_exceptions=False) as made:
        yield made


Post = Callable[..., httpx.Response]


@pytest.fixture
def post(ada: Person) -> Post:
    """A request for pictures of ada's, with so many fields changed."""

    def ask(headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": "pets", "prompt": PROMPT, **fields}
        asked = {name: value for name, value in body.items() if value is not None}
        return ada.client.post("/v1/images/generations", json=asked, headers={**key_of(ada), **(headers or {})})

    return ask


def key_of(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.key}"}


def newest(sessions: Sessions) -> Generation:
    with sessions() as session:
        return session.scalars(select(Generation).order_by(Generation.created_at.desc()).limit(1)).one()


def count_asked(sessions: Sessions) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Generation)) or 0


def two_versions(sessions: Sessions, history_id: UUID) -> tuple[UUID, UUID]:
    """The second is the head."""
    with sessions() as session:
        history = session.get_one(History, history_id)
        first = make.version(session, history, 1, "rex").id
        history.head_id = second = make.version(session, history, 2, "momo", first).id
        session.commit()
        return first, second


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_come_as_files_in_base64_with_what_a_client_left_to_us_drawn_and_filled_in(
    post: Post, sessions: Sessions
) -> None:
    answer = post(n=2, size="auto", quality="auto", background="auto", user="somebody", response_format="b64_json")
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made.keys() == {"created", "data", "size", "output_format"}
    assert [base64.b64decode(one["b64_json"]) for one in made["data"]] == [png(seed=0), png(seed=1)]
    assert [list(one) for one in made["data"]] == [["b64_json"]] * 2
    assert abs(made["created"] - datetime.now(UTC).timestamp()) < 600
    generation = newest(sessions)
    assert (generation.prompt, generation.count, generation.version_id) == (PROMPT, 2, None)
    assert made["size"] == f"{generation.width_px}x{generation.height_px}" == "64x64"


def test_what_else_can_be_set_is_taken_by_the_names_that_such_clients_have_for_it(
    post: Post, sessions: Sessions
) -> None:
    told = {"seed": 7, "steps": 9, "guidance_scale": 2.5, "sampler": "euler", "negative_prompt": "a cat"}
    assert post(size="128x64", **told).json()["size"] == "128x64"
    made = newest(sessions)
    assert (made.width_px, made.height_px, made.seed, made.steps) == (128, 64, 7, 9)
    assert (made.guidance, made.sampler, made.negative_prompt) == (2.5, "euler", "a cat")


def test_an_address_can_be_asked_for_in_the_place_of_the_file_and_wants_the_same_key(post: Post, ada: Person) -> None:
    [one] = post(response_format="url").json()["data"]
    assert one["url"].startswith("http://testserver/api/v1/images/")
    assert ada.client.get(one["url"], headers=key_of(ada)).content == png(seed=0)
    assert ada.client.get(one["url"]).status_code == 401


@pytest.mark.parametrize(("kind", "quality"), [("jpeg", None), ("webp", 60)])
def test_other_formats_can_be_asked_for(post: Post, kind: str, quality: int | None) -> None:
    made = post(output_format=kind, output_compression=quality).json()
    assert made["output_format"] == kind
    with Image.open(BytesIO(base64.b64decode(made["data"][0]["b64_json"]))) as picture:
        assert (picture.format, picture.size) == (kind.upper(), (80, 72))


def test_an_address_is_that_of_the_png_and_whoever_wants_another_format_is_told_so(post: Post, ada: Person) -> None:
    made = post(response_format="url", output_format="jpeg").json()
    file = ada.client.get(made["data"][0]["url"], headers=key_of(ada))
    assert (made["output_format"], file.headers["Content-Type"]) == ("png", "image/png")


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "version"), [("pets", 2), ("pets@latest", 2), ("pets@v1", 1), ("pets@1", 1), ("pets@v0", 0)]
)
def test_a_model_is_a_history_at_a_version(
    post: Post, ada: Person, sessions: Sessions, model: str, version: int
) -> None:
    versions = (None, *two_versions(sessions, ada.history_id))
    assert post(model=model).status_code == 200
    assert newest(sessions).version_id == versions[version]
    assert post(model=model.replace("pets", str(ada.history_id))).status_code == 200
    assert newest(sessions).version_id == versions[version]


def test_a_name_that_looks_like_a_version_is_a_name_first(post: Post, ada: Person, sessions: Sessions) -> None:
    with sessions() as session:
        session.get_one(History, ada.history_id).name = "pets@v2"
        session.commit()
    assert post(model="pets@v2").status_code == 200
    assert post(model="pets").json()["error"]["param"] == "model"


@pytest.mark.parametrize("name", ["dall-e dogs", "gpt-image", "DALL-E-3"])
def test_a_history_that_is_called_like_a_model_of_openais_is_meant_by_its_name(
    post: Post, ada: Person, sessions: Sessions, name: str
) -> None:
    called_so = UUID(ada.ask("POST", "/histories", json={"name": name}).json()["id"])
    assert post(model="pets").status_code == 200  # which is then the one that was used last
    for model in (name, f"{name}@v0"):
        assert post(model=model).status_code == 200
        assert newest(sessions).history_id == called_so
        assert post(model="pets").status_code == 200


@pytest.mark.parametrize("model", ["gpt-image-1", "dall-e-3", "chatgpt-image-latest", None])
def test_openais_own_names_and_none_mean_the_history_that_was_used_last(
    post: Post, ada: Person, sessions: Sessions, model: str | None
) -> None:
    mugs = UUID(ada.ask("POST", "/histories", json={"name": "mugs"}).json()["id"])
    assert post(model=model).status_code == 200
    assert newest(sessions).history_id == mugs  # the newest, as nothing was made in any
    post(model="pets")
    post(model=model)
    assert newest(sessions).history_id == ada.history_id


def test_models_are_the_callers_own_histories(ada: Person, bob: Person, sessions: Sessions) -> None:
    ada.ask("POST", "/histories", json={"name": "mugs/blue"})
    listed = ada.client.get("/v1/models", headers=key_of(ada)).json()
    assert (listed["object"], [one["id"] for one in listed["data"]]) == ("list", ["pets", "mugs/blue"])
    assert {one["owned_by"] for one in listed["data"]} == {"ada"}
    for name in ("mugs/blue", "mugs/blue@v3", "gpt-image-1"):
        one = ada.client.get(f"/v1/models/{name}", headers=key_of(ada)).json()
        assert (one["id"], one["object"]) == (name, "model")
    other = bob.client.get("/v1/models/mugs/blue", headers=key_of(bob))
    assert other.status_code == 404
    assert other.json()["error"]["message"] == "There is no model of that name. A model is one of your histories: pets."
    stolen = {"model": str(ada.history_id), "prompt": PROMPT}
    assert bob.client.post("/v1/images/generations", json=stolen, headers=key_of(bob)).status_code == 404
    assert count_asked(sessions) == 0


def test_whoever_has_no_history_is_told_that_a_model_is_one(client: TestClient, sessions: Sessions) -> None:
    cleo = make_person(client, sessions, "cleo")
    assert cleo.ask("DELETE", f"/histories/{cleo.history_id}").status_code == 204
    answer = client.post("/v1/images/generations", json={"prompt": PROMPT}, headers=key_of(cleo))
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "model")
    assert "There is no history yet" in answer.json()["error"]["message"]
    assert client.get("/v1/models", headers=key_of(cleo)).json() == {"object": "list", "data": []}


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "param", "said"),
    [
        ({"model": "cars"}, 404, "model", "A model is one of your histories: pets."),
        ({"model": "pets@v9"}, 404, None, "This history has no version 9."),
        ({"prompt": "a <rex> dog"}, 422, "prompt", "This version does not know <rex>."),
        ({"prompt": " "}, 422, "prompt", "The prompt is empty."),
        ({"size": "large"}, 422, "size", "A size is written as 512x512, or auto."),
        ({"size": "65x64"}, 422, "width_px", "A side must be a multiple of"),
        ({"n": 0}, 422, "n", "n: "),
        ({"n": 1000}, 422, "count", "pictures can be asked for at once"),
        ({"stream": True}, 422, "stream", "not as a stream"),
        ({"response_format": "zip"}, 422, "response_format", "response_format: "),
    ],
)
def test_errors_have_the_shape_that_such_clients_read(
    post: Post, sessions: Sessions, fields: dict[str, Any], status: int, param: str | None, said: str
) -> None:
    answer = post(**fields)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert said in error["message"]
    assert count_asked(sessions) == 0


def test_strangers_and_wrong_addresses_are_told_in_that_shape_too(client: TestClient, ada: Person) -> None:
    for headers in ({}, {"Authorization": "Bearer sk-of-somebody-else"}):
        answer = client.post("/v1/images/generations", json={"prompt": PROMPT}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    page = client.get("/v1/chat/completions", headers={**key_of(ada), "Accept": "text/html"})
    assert (page.status_code, page.json()["error"]["code"]) == (404, "not_found")


def test_whoever_asks_too_often_is_told_when_to_come_again(
    config: Settings, painter: Painter, sessions: Sessions
) -> None:
    with TestClient(create_app(config.model_copy(update={"start_rate": "1/minute"}), painter)) as client:
        ada = make_person(client, sessions, "ada")
        asked = [client.post("/v1/images/generations", json={"prompt": PROMPT}, headers=key_of(ada)) for _ in range(2)]
    assert [one.status_code for one in asked] == [200, 429]
    assert asked[1].json()["error"]["type"] == "rate_limit_error"
    assert 0 < int(asked[1].headers["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("ends", "said"), [(JobState.FAILED, TOO_LARGE), (JobState.CANCELLED, "These pictures were cancelled.")]
)
def test_pictures_that_failed_are_told_of_in_their_own_sentence_and_not_tried_again_by_the_client(
    post: Post, painter: Painter, ends: JobState, said: str
) -> None:
    painter.ends = ends
    answer = post()
    assert answer.status_code == 422  # which no client sends again by itself
    assert answer.json()["error"]["message"] == said


# --- sent again -------------------------------------------------------------------------------------------------------


AGAIN = {"x-stainless-retry-count": "1"}


@pytest.fixture
def unanswered(post: Post, painter: Painter, monkeypatch: pytest.MonkeyPatch) -> Post:
    """A request whose client is sent away before anything is painted."""

    def ask(**options: Any) -> httpx.Response:
        ends = painter.ends
        with monkeypatch.context() as now:
            now.setattr(api, "LONGEST_WAIT_S", 0.0)
            painter.ends = None
            answer = post(**options)
        painter.ends = ends
        return answer

    return ask


def test_what_is_not_ready_in_time_is_waited_on_for_by_the_same_request(
    post: Post, painter: Painter, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "LONGEST_WAIT_S", 0.05)
    painter.ends = None
    late = post(n=2)
    assert (late.status_code, late.headers["Retry-After"]) == (503, "5")
    assert late.json()["error"]["type"] == "server_error"
    assert post(headers=AGAIN, n=2).status_code == 503
    painter.ends = JobState.DONE
    painter.paint(newest(sessions).job_id)
    assert len(post(headers=AGAIN, n=2).json()["data"]) == 2
    assert count_asked(sessions) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "a photo of a cat"},
        {"n": 2},
        {"seed": 5},
        {"steps": 3},
        {"size": "128x128"},
        {"negative_prompt": "rain"},
        {"model": "pets@v1"},
        {"headers": {**AGAIN, "Idempotency-Key": "mine"}},
    ],
)
def test_another_request_is_not_taken_for_one_that_is_sent_again(
    post: Post, unanswered: Post, ada: Person, sessions: Sessions, changed: dict[str, Any]
) -> None:
    two_versions(sessions, ada.history_id)
    assert unanswered(seed=4).status_code == 503
    assert post(**{"headers": AGAIN, "seed": 4, **changed}).status_code == 200
    assert count_asked(sessions) == 2


@pytest.mark.parametrize(("model", "first"), [("pets", "pets@v2"), ("pets", "gpt-image-1"), (None, "pets")])
def test_one_that_named_another_model_is_another_request_though_both_mean_the_same_now(
    post: Post, unanswered: Post, ada: Person, sessions: Sessions, model: str | None, first: str
) -> None:
    two_versions(sessions, ada.history_id)
    unanswered(model=first)
    assert post(headers=AGAIN, model=model).status_code == 200
    assert count_asked(sessions) == 2


def test_the_same_request_anew_makes_new_pictures(post: Post, unanswered: Post, sessions: Sessions) -> None:
    unanswered()
    for headers in ({}, {"x-stainless-retry-count": "0"}):
        post(headers=headers)
    assert count_asked(sessions) == 3


def test_pictures_that_were_handed_out_are_not_handed_out_again(post: Post, sessions: Sessions) -> None:
    """Whoever sends again was refused before anything was begun, or met a server that was not there."""
    post()
    assert post(headers=AGAIN).status_code == 200
    assert count_asked(sessions) == 2


@pytest.mark.parametrize("ends", [JobState.FAILED, JobState.CANCELLED])
def test_pictures_that_came_to_nothing_are_asked_for_anew(
    post: Post, painter: Painter, sessions: Sessions, ends: JobState
) -> None:
    painter.ends = ends
    assert post().status_code == 422
    painter.ends = JobState.DONE
    assert post(headers=AGAIN).status_code == 200
    assert count_asked(sessions) == 2


@pytest.mark.parametrize(
    ("state", "begun_min", "ended_min", "count"),
    [
        (JobState.RUNNING, 50, None, 1),
        (JobState.RUNNING, 70, None, 2),
        (JobState.DONE, 50, 10, 1),
        (JobState.DONE, 50, 20, 2),
    ],
)
def test_a_request_is_waited_on_for_as_long_as_it_is_open_and_a_quarter_of_an_hour_beyond_and_for_an_hour_at_the_most(
    unanswered: Post, sessions: Sessions, state: JobState, begun_min: int, ended_min: int | None, count: int
) -> None:
    unanswered()
    now = datetime.now(UTC)
    with sessions.begin() as session:
        session.execute(update(Generation).values(created_at=now - timedelta(minutes=begun_min)))
        session.execute(
            update(Job).values(
                state=state,
                created_at=now - timedelta(minutes=begun_min),
                finished_at=None if ended_min is None else now - timedelta(minutes=ended_min),
                lease_until=now + timedelta(minutes=1) if state == JobState.RUNNING else None,
            )
        )
    unanswered(headers=AGAIN)
    assert count_asked(sessions) == count


@pytest.mark.parametrize("headers", [AGAIN, {"Idempotency-Key": "mine"}])
def test_what_is_sent_again_stays_in_its_history_though_another_one_was_used_since(
    post: Post, unanswered: Post, ada: Person, sessions: Sessions, headers: dict[str, str]
) -> None:
    unanswered(model="gpt-image-1", headers=headers)
    ada.ask("POST", "/histories", json={"name": "mugs"})
    post(model="mugs")
    assert unanswered(model="gpt-image-1", headers=headers).status_code == 503
    assert count_asked(sessions) == 2


def test_whoever_sends_a_request_again_gets_no_pictures_that_another_one_waits_for(
    ada: Person, painter: Painter, sessions: Sessions
) -> None:
    painter.ends = None
    asked = {"model": "pets", "prompt": PROMPT, "response_format": "url"}

    async def ask() -> None:
        made = []
        for count in range(1, 4):
            made.append(Opened(ada.client.app, "/v1/images/generations", {**key_of(ada), **AGAIN}, asked))
            await until_asked(sessions, count)
        painter.ends = JobState.DONE
        await asyncio.to_thread(paint_all, painter, sessions)
        answers = [await one.answer() for one in made]
        assert len({answer["data"][0]["url"] for answer in answers}) == 3

    in_a_loop_of_its_own(ask())


def test_whoever_lost_the_line_is_waited_for_no_longer_and_finds_their_pictures(
    ada: Person, painter: Painter, sessions: Sessions
) -> None:
    painter.ends = None
    path, asked = "/v1/images/generations", {"model": "pets", "prompt": PROMPT}

    async def ask() -> None:
        first = Opened(ada.client.app, path, key_of(ada), asked)
        await until_asked(sessions, 1)
        first.lose()
        again = Opened(ada.client.app, path, {**key_of(ada), **AGAIN}, asked)
        await first.leave()
        painter.ends = JobState.DONE
        await asyncio.to_thread(paint_all, painter, sessions)
        assert await again.status() == 200
        assert first.said == b""

    in_a_loop_of_its_own(ask())
    assert count_asked(sessions) == 1


def test_pictures_that_left_by_another_process_meanwhile_do_not_leave_twice(
    ada: Person, painter: Painter, sessions: Sessions
) -> None:
    painter.ends = None

    async def ask() -> None:
        one = Opened(ada.client.app, "/v1/images/generations", key_of(ada), {"model": "pets", "prompt": PROMPT})
        await until_asked(sessions, 1)
        with sessions.begin() as session:
            session.execute(delete(IdempotencyKey))
        painter.ends = JobState.DONE
        await asyncio.to_thread(paint_all, painter, sessions)
        assert await one.status() == 503
        assert "Send this one again for others." in (await one.answer())["error"]["message"]

    in_a_loop_of_its_own(ask())


async def until_asked(sessions: Sessions, count: int) -> None:
    async with asyncio.timeout(30):
        while await asyncio.to_thread(count_asked, sessions) < count:
            await asyncio.sleep(0.01)


def paint_all(painter: Painter, sessions: Sessions) -> None:
    with sessions() as session:
        waiting = session.scalars(select(Job.id)).all()
    for job_id in waiting:
        painter.paint(job_id)


def test_a_key_of_ones_own_starts_nothing_twice(post: Post, sessions: Sessions) -> None:
    first, second = (post(headers={"Idempotency-Key": "mine"}).json() for _ in range(2))
    assert first == second
    assert count_asked(sessions) == 1


def test_what_was_begun_is_reached_by_its_key_and_by_sending_it_again_though_nothing_more_may_be_begun(
    post: Post, unanswered: Post, ada: Person, painter: Painter, sessions: Sessions
) -> None:
    unanswered(headers={"Idempotency-Key": "mine"})
    unanswered(prompt="a mug")
    paint_all(painter, sessions)
    with sessions.begin() as session:
        session.get_one(User, ada.id).quota_bytes = 1
    assert post().json()["error"]["code"] == "over_quota"
    assert post(headers={"Idempotency-Key": "mine"}).status_code == 200
    assert post(headers=AGAIN, prompt="a mug").status_code == 200
