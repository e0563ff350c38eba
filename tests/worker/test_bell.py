"""What reaches those who watch a job, and what does not matter when nobody can be reached."""

import base64
import json
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from PIL import Image

from tests.worker.processes import wait_until
from tests.worker.test_generating import a_base_that_never_ends
from tests.worker.world import World
from worker.bell import Bell
from worker.generating import generate
from worker.learning import learn
from worker.process import Worker
from worker.progress import thinned


class Listener:
    """Everything that is told about one job."""

    def __init__(self, url: str, job: UUID):
        self._redis = redis.Redis.from_url(url)
        self._channel = self._redis.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe(f"palimpsest:job:{job}")
        self._channel.get_message(timeout=5)
        self.heard: list[dict[str, Any]] = []

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        while (message := self._channel.get_message(timeout=0.01)) is not None:
            self.heard.append(json.loads(message["data"]))
        return [message for message in self.heard if message["kind"] == kind]

    def close(self) -> None:
        self._channel.close()
        self._redis.close()


@pytest.fixture
def listen(redis_url: str) -> Iterator[Any]:
    made: list[Listener] = []

    def begin(job: UUID) -> Listener:
        made.append(Listener(redis_url, job))
        return made[-1]

    yield begin
    for listener in made:
        listener.close()


def test_a_learning_tells_its_steps_and_wakes_who_reads_its_events(worker: Worker, world: World, listen: Any) -> None:
    job = world.learning(world.history())
    listener = listen(job)
    learn(worker, job)
    told = listener.of_kind("progress")
    assert {"stage", "step", "steps_total", "seconds_left"} <= told[0].keys()
    assert any("loss" in message for message in told)
    assert len(listener.of_kind("wake")) >= len(world.samples(job)) + 1


def test_who_watches_a_picture_sees_it_on_its_way(worker: Worker, world: World, listen: Any) -> None:
    job = world.generation(world.history(), "a dog", steps=500)
    listener = listen(job)
    with a_base_that_never_ends(worker.equipment.base):
        thread = threading.Thread(target=generate, args=(worker, job))
        thread.start()
        wait_until(lambda: listener.of_kind("preview"), "there is something to see")
        worker.stop()
        thread.join()
    look = listener.of_kind("preview")[0]
    with Image.open(BytesIO(base64.b64decode(look["png_base64"]))) as picture:
        assert (picture.format, picture.size) == ("PNG", (16, 16))
    assert look["steps_total"] == 500


def test_a_broker_that_is_away_is_left_alone_for_a_while() -> None:
    bell = Bell("redis://127.0.0.1:1/0")
    assert bell.publish(uuid4(), {"kind": "wake"}) is False
    bell._redis.publish = None  # type: ignore[method-assign, assignment]  # a second try would be an error
    assert bell.publish(uuid4(), {"kind": "wake"}) is False
    bell.close()


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    assert thinned([]) == []
    assert thinned([0.5]) == [[1, 0.5]]
    points = thinned([step / 1000 for step in range(1, 1001)], most=100)
    assert len(points) <= 101
    assert (points[0], points[-1]) == ([1, 0.001], [1000, 1.0])
