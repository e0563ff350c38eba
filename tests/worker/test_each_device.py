"""One worker a device: who gets which, and that they start and stop together."""

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from app import children
from app.db import Sessions
from app.jobs.models import WorkerRow
from app.jobs.workers import has_reported
from app.up import Told
from tests.worker.processes import wait_until
from worker import each_device
from worker.each_device import VISIBLE, places, run

TELLS = """
import os, time
print("on", os.environ["CUDA_VISIBLE_DEVICES"], f'{os.environ["DEVICE"]}, {os.getpid()}')
time.sleep(999)
"""


@pytest.mark.parametrize(
    ("visible", "gpus", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("3,GPU-8f5a", 0, ["3", "GPU-8f5a"]),
        (" 1 ", 4, ["1"]),
    ],
)
def test_each_worker_sees_one_gpu(visible: str | None, gpus: int, expected: list[str]) -> None:
    environment = {} if visible is None else {VISIBLE: visible}
    assert places(environment, gpus) == [{VISIBLE: number, "DEVICE": "cuda"} for number in expected]


@pytest.mark.parametrize("visible", [None, "", "-1"])
def test_without_a_gpu_there_is_one_worker_where_the_settings_say(visible: str | None) -> None:
    assert places({} if visible is None else {VISIBLE: visible}, 0) == [{}]


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(each_device, "LOOK_EVERY_S", 0.05)


class Running:
    """Workers of two GPUs, which are `program`. came_up: process ids of those that have come up."""

    def __init__(self, program: str, capfd: pytest.CaptureFixture[str]):
        self.came_up: set[int] = set()
        self.seen: set[int] = set()
        self.heard = ""
        self.status: int | None = None
        self._told, self._capfd, self._program = Told(), capfd, program
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.status = run(places({}, 2), self._told, self._has_come_up, ("-c", self._program))

    def _has_come_up(self, pid: int) -> bool:
        if pid in self.came_up:
            self.seen.add(pid)
        return pid in self.came_up

    def listen_until(self, true: Callable[[], object], what: str) -> None:
        def hear() -> object:
            self.heard += self._capfd.readouterr().out
            return true()

        wait_until(hear, what)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def pids(self, place: int) -> list[int]:
        """Of every process that was started for that GPU so far."""
        return [int(pid) for pid in re.findall(rf"\| on {place} cuda, (\d+)$", self.heard, re.MULTILINE)]

    def stop(self) -> int | None:
        self._told.set()
        self._thread.join()
        self.heard += self._capfd.readouterr().out
        return self.status


@pytest.fixture
def start(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], Running]]:
    made: list[Running] = []

    def begin(program: str) -> Running:
        made.append(Running(program, capfd))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def test_they_start_together_and_stop_when_told(start: Callable[[str], Running]) -> None:
    running = start(TELLS)
    running.listen_until(lambda: running.heard.count("| on") == 2, "both are there")
    assert running.alive
    assert running.stop() == 0
    assert re.sub(r", \d+", "", "".join(sorted(running.heard.splitlines(keepends=True)))) == (
        "worker 0   | on 0 cuda\nworker 1   | on 1 cuda\n"
    )


def test_one_that_never_comes_up_is_given_up_and_the_others_go_on(start: Callable[[str], Running]) -> None:
    running = start(f"import os, sys\nif os.environ['{VISIBLE}'] == '1': sys.exit(3)\n{TELLS}")
    running.listen_until(lambda: "Giving up." in running.heard, "the second is given up")
    running.listen_until(lambda: running.pids(0), "the first is there")
    assert running.alive
    assert len(running.pids(0)) == 1
    assert running.stop() == 0
    assert running.heard.count("Giving up.") == 1


def test_when_none_comes_up_it_ends_and_says_so(start: Callable[[str], Running]) -> None:
    running = start("import sys; sys.exit(3)")
    running.listen_until(lambda: not running.alive, "it has ended")
    assert running.stop() == 1
    assert running.heard.count("Giving up.") == 2
    assert "No worker is left." in running.heard


def test_one_that_has_come_up_is_started_again_however_often_it_dies(start: Callable[[str], Running]) -> None:
    """What kills it may be one job, and a worker that works is not to be done without."""
    running = start(TELLS)
    running.listen_until(lambda: running.pids(1), "it has started")
    running.came_up.add(running.pids(1)[0])
    running.listen_until(lambda: running.seen, "it is seen to have come up")
    for times in range(1, children.RESTARTS + 2):
        os.kill(running.pids(1)[-1], signal.SIGKILL)
        running.listen_until(lambda times=times: len(running.pids(1)) > times, "it is started again")  # type: ignore[misc]
    assert running.alive
    assert "Giving up." not in running.heard


def test_a_worker_has_come_up_when_it_has_reported_itself_lately(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for worker_id in (f"{socket.gethostname()}:11:1", f"{socket.gethostname()}:12:1", "elsewhere:13:1"):
            session.add(WorkerRow(id=worker_id, device="cpu", holds={}))
        session.flush()
        long_ago = {"seen_at": func.now() - timedelta(hours=1)}
        session.execute(update(WorkerRow).where(WorkerRow.id.contains(":12:")).values(**long_ago))
    with sessions() as session:
        assert [has_reported(session, pid) for pid in (11, 12, 13, 1)] == [True, False, False, False]
