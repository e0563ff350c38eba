"""A load generator: requests that leave when they are due, whether or not the ones before were answered."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from benchmarks.front_end.client import BadAnswer, Connection, get_request

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Visit:
    """One kind of request. weight: how often it is made, beside the others."""

    name: str
    path: str
    weight: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """due_s: since the start. seconds: from when it was due, not from when somebody came free to send it, to its last
    byte; so a service that stops for a second has made all wait that were due in it. status: 0 without an answer.
    """

    name: str
    due_s: float
    seconds: float
    status: int
    size_bytes: int

    @property
    def is_error(self) -> bool:
        return self.status not in (200, 303, 304)


@dataclass(frozen=True)
class Due:
    at_s: float
    visit: Visit


def make_schedule(visits: Sequence[Visit], per_second: float, seconds: float, seed: int) -> list[Due]:
    """Arrivals of people who know nothing of each other: a Poisson process of that rate, each a visit by its weight."""
    random = Random(seed)
    weights = [visit.weight for visit in visits]
    schedule, at = [], random.expovariate(per_second)
    while at < seconds:
        schedule.append(Due(at, random.choices(visits, weights)[0]))
        at += random.expovariate(per_second)
    return schedule


def send_all(host: str, port: int, schedule: Sequence[Due], connections: int) -> list[Answer]:
    """Send each request when it is due, over so many connections that stay open; returns the answers in order."""
    answers: list[Answer | None] = [None] * len(schedule)
    numbers, lock = iter(range(len(schedule))), threading.Lock()
    requests = [get_request(host, due.visit.path, due.visit.headers) for due in schedule]
    begun = time.perf_counter()

    def work() -> None:
        with Connection(host, port, TIMEOUT_S) as connection:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                due = schedule[number]
                time.sleep(max(0.0, begun + due.at_s - time.perf_counter()))
                status, size = _ask(connection, requests[number])
                answers[number] = Answer(due.visit.name, due.at_s, time.perf_counter() - begun - due.at_s, status, size)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for answer in answers if answer is not None]


def _ask(connection: Connection, request: bytes) -> tuple[int, int]:
    """Status and size; status 0 when there was no whole answer. The next request then opens the connection anew."""
    try:
        return connection.get(request)
    except (OSError, BadAnswer):
        return 0, 0
