"""Child processes that die: said, started again, and given up only when they never came up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import children
from app.children import RESTARTS, Child, stop_all
from app.processes import child_options
from tests.faults.house import runs
from tests.worker.processes import wait_until

DIES = "import sys; print('I cannot start.', flush=True); sys.exit(3)"
LIVES = "import time; print('Here I am.', flush=True); time.sleep(1000)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('Here.', flush=True); time.sleep(1000)"
)


class Terminal:
    """What was said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def say(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for who, line in self.lines if who == name]


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LONGEST_PAUSE_S", 0.0)


def child(terminal: Terminal, program: str, stop_s: float = 60) -> Child:
    made = Child("worker", ["-c", program], os.environ, terminal.say, stop_s=stop_s)
    made.start()
    return made


def let_die(one: Child) -> None:
    wait_until(lambda: not one.alive, "it has died")


def test_its_lines_are_passed_on_under_its_name(terminal: Terminal) -> None:
    one = child(terminal, DIES)
    let_die(one)
    one.stop()
    assert terminal.lines == [("worker", "I cannot start.")]


def test_one_that_is_killed_is_started_again_and_it_is_said(terminal: Terminal) -> None:
    one = child(terminal, LIVES)
    first = one.pid
    one.kill()
    let_die(one)
    assert one.revive()
    assert one.alive
    assert one.pid != first
    assert terminal.of("palimpsest") == ["The worker process was ended by signal 9. Starting it again."]
    assert one.revive()  # nothing to do
    stop_all([one])
    assert not one.alive


def test_one_that_never_comes_up_is_given_up(terminal: Terminal) -> None:
    one = child(terminal, DIES)
    for _ in range(RESTARTS):
        let_die(one)
        assert one.revive()
    let_die(one)
    assert not one.revive()
    said = terminal.of("palimpsest")
    assert said[0] == "The worker process ended by itself with status 3. Starting it again."
    assert said[-1] == "The worker process ended by itself with status 3, 6 times within a short while. Giving up."


def test_one_that_has_worked_is_never_given_up_but_waited_with(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job that kills the worker each time must not end the service for everybody."""
    one = child(terminal, DIES)
    one.has_come_up = True
    for _ in range(2 * RESTARTS):
        let_die(one)
        assert one.revive()
    let_die(one)
    monkeypatch.setattr(children, "LONGEST_PAUSE_S", 60.0)
    dead = one.pid
    for _ in range(3):
        assert one.revive()
    assert one.pid == dead  # its pause is not over
    assert terminal.of("palimpsest")[-1].endswith("Starting it again in 60 s.")
    assert len(terminal.of("palimpsest")) == 2 * RESTARTS + 1


def test_one_that_does_not_listen_is_killed(terminal: Terminal) -> None:
    one = child(terminal, DEAF, stop_s=0.2)
    wait_until(lambda: terminal.lines, "it has begun")
    one.stop()
    assert one.process is not None
    assert one.process.returncode == -9


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    number = tmp_path / "number"
    program = (
        "import subprocess, sys, time; from pathlib import Path; from app.processes import child_options\n"
        f"child = subprocess.Popen([sys.executable, '-c', {LIVES!r}], **child_options())\n"
        f"Path({str(number)!r}).write_text(str(child.pid)); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2], **child_options()) as parent:  # type: ignore[call-overload]
        wait_until(lambda: number.exists() and number.read_text(), "it has a child")
        parent.kill()
    wait_until(lambda: not runs(int(number.read_text())), "the child has gone too")
