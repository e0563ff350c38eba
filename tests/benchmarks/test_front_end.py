"""The load generator against a small server of its own, and what is made of its answers."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.front_end.figures import (
    ASKED_PER_S,
    bar_of_start,
    bars_of,
    figures_at,
    markdown,
    quantile,
    sentences_of,
    summarise,
)
from benchmarks.front_end.load import Answer, Due, Visit, make_schedule, send_all
from benchmarks.front_end.start import figures_of_start, seconds_until_healthy

STALL_S = 0.4


class Shop(BaseHTTPRequestHandler):
    """/closed is a 503; /stall keeps whoever asks for a while; /torn is shorter than it says; / says who asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/stall":
            time.sleep(STALL_S)
        body = self.headers.get("X-Who", "nobody").encode()
        self.send_response(503 if self.path == "/closed" else 200)
        self.send_header("Content-Length", str(len(body) + 9 * (self.path == "/torn")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == "/torn"

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def shop() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server.server_address[1]
        server.shutdown()
        serving.join()


def test_arrivals_have_the_rate_and_the_weights_that_were_asked_for_and_come_from_the_seed() -> None:
    visits = [Visit("often", "/", 3), Visit("seldom", "/x", 1)]
    schedule = make_schedule(visits, 100, 100, seed=5)
    assert schedule == make_schedule(visits, 100, 100, seed=5)
    assert schedule != make_schedule(visits, 100, 100, seed=6)
    assert len(schedule) == pytest.approx(10_000, rel=0.05)
    assert [due.at_s for due in schedule] == sorted(due.at_s for due in schedule)
    counted = Counter(due.visit.name for due in schedule)
    assert counted["often"] / counted["seldom"] == pytest.approx(3, rel=0.1)


def test_every_request_is_answered_in_its_place_with_its_status(shop: int) -> None:
    visits = [Visit("open", "/", headers={"X-Who": "somebody"}), Visit("closed", "/closed")]
    answers = send_all("127.0.0.1", shop, [Due(0.001 * n, visits[n % 2]) for n in range(20)], connections=4)
    assert [answer.name for answer in answers] == ["open", "closed"] * 10
    assert [(answer.status, answer.is_error, answer.size_bytes) for answer in answers[:2]] == [
        (200, False, len("somebody")),
        (503, True, len("nobody")),
    ]


def test_nobody_who_answers_is_an_error_too(shop: int) -> None:
    (answer,) = send_all("127.0.0.1", 9, [Due(0.0, Visit("away", "/"))], connections=1)
    assert (answer.status, answer.is_error) == (0, True)


def test_an_answer_that_breaks_off_is_an_error_and_the_next_one_is_asked_for_anew(shop: int) -> None:
    dues = [Due(0.0, Visit("torn", "/torn")), Due(0.0, Visit("whole", "/"))]
    answers = send_all("127.0.0.1", shop, dues, connections=1)
    assert [(answer.status, answer.size_bytes) for answer in answers] == [(0, 0), (200, len("nobody"))]


def test_what_was_due_while_the_service_stood_still_has_waited(shop: int) -> None:
    """One connection: the second request could not even be sent while the first one was waited for."""
    answers = send_all(
        "127.0.0.1", shop, [Due(0.0, Visit("slow", "/stall")), Due(0.1, Visit("next", "/"))], connections=1
    )
    assert answers[1].seconds >= STALL_S - 0.1


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert quantile([7.0], 0.5) == 7.0


def answers_of(seconds: list[float], status: int = 200) -> list[Answer]:
    return [Answer("studio" if n % 2 else "jobs", n / 100, taken, status, 1) for n, taken in enumerate(seconds)]


def test_errors_are_counted_by_what_they_were() -> None:
    mixed = [*answers_of([0.01] * 4), *answers_of([0.02] * 2, 503), *answers_of([0.03], 0), *answers_of([0.01], 304)]
    assert summarise(mixed)["errors"] == {"0": 1, "503": 2}


@pytest.mark.parametrize(
    ("seconds", "status", "share", "held"),
    [
        (0.010, 200, 0.99, [True, True, True, True]),
        (0.090, 200, 0.99, [False, True, True, True]),
        (0.010, 500, 0.99, [True, False, True, True]),
        (0.010, 200, 0.30, [True, True, True, False]),
        (5.000, 200, 0.99, [False, True, False, True]),
    ],
)
def test_a_bar_is_missed_by_what_it_is_about_and_by_nothing_else(
    seconds: float, status: int, share: float, held: list[bool]
) -> None:
    rate = figures_at(ASKED_PER_S, 10.0, answers_of([seconds] * 10 * ASKED_PER_S, status), share, 0.5)
    assert [bar.holds for bar in bars_of([rate])] == held


def test_a_rate_that_was_not_measured_holds_nothing() -> None:
    (bar,) = bars_of([figures_at(50, 1.0, answers_of([0.01] * 50), 0.99, 0.5)])
    assert (bar.value, bar.holds) == (None, False)


def test_a_start_is_measured_by_the_median_of_several() -> None:
    start = figures_of_start([2.0, 9.0, 1.0, 2.5, 2.25])
    assert start["median_s"] == 2.25
    assert bar_of_start(start).holds
    assert not bar_of_start(figures_of_start([2.0, 3.5, 3.25])).holds


def test_a_start_ends_with_the_first_answer_of_a_real_web_process(tmp_path: Path) -> None:
    (seconds,) = seconds_until_healthy(tmp_path, times=1)
    assert seconds > 0


def test_what_a_request_costs_the_web_process_is_told() -> None:
    assert figures_at(100, 10.0, answers_of([0.01] * 1000), 0.97, 0.4)["web_ms_a_request"] == pytest.approx(
        4.0, rel=0.01
    )


def test_the_section_has_a_line_for_each_rate() -> None:
    rates = [figures_at(rate, 1.0, answers_of([0.01] * rate), 0.97, 0.5) for rate in (50, ASKED_PER_S)]
    told = {"figures": {"rates": rates}, "says": sentences_of(rates), "bars": [vars(bar) for bar in bars_of(rates)]}
    text = markdown(told)
    assert "| 50 | 50.000 | 10.000 |" in text
    assert "| 100 | 100.000 | 10.000 |" in text
    assert "slowest kinds" in text
