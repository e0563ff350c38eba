"""Our own programs as child processes: their lines are passed on, and they are started again when they die."""

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from app.processes import Process, child_options, end_process

Say = Callable[[str, str], None]
"""Called with who speaks and what it says."""
US = "palimpsest"
RESTARTS, RESTARTS_WITHIN_S = 5, 600.0
LONGEST_PAUSE_S = 60.0


class Child:
    """One program. stop_s: how long it may take to end before it is killed. sockets: numbers of sockets it inherits.

    has_come_up: set by whoever sees that it works. From then on it is never given up: what kills it may be one job, or
    one request, and must not take everything else along.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        say: Say,
        *,
        stop_s: float,
        sockets: Sequence[int] = (),
    ):
        self.name, self.command, self.environment, self.say = name, command, environment, say
        self.stop_s, self.sockets = stop_s, sockets
        self._deaths: deque[float] = deque()
        self._passing_on: threading.Thread | None = None
        self._start_at: float | None = None  # when it is to be started again
        self.has_come_up = False
        self.process: Process | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603 - our own modules by our own interpreter
            [sys.executable, *self.command],
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.sockets,
            **child_options(),
        )
        self._passing_on = threading.Thread(target=self._pass_on, args=(self.process,), daemon=True)
        self._passing_on.start()

    def _pass_on(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - we asked for a pipe
        with process.stdout as lines:
            for line in lines:
                self.say(self.name, line.decode(errors="replace").rstrip())

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def revive(self) -> bool:
        """Start it again if it has died, and say so: at once, or after a growing pause when it dies again and again.

        False when it never came up however often it was started: it stays dead.
        """
        if self.alive or self.process is None:
            return True
        now = time.monotonic()
        if self._start_at is None:
            code = self.process.returncode
            how = f"was ended by signal {-code}" if code < 0 else f"ended by itself with status {code}"
            self._deaths.append(now)
            while now - self._deaths[0] > RESTARTS_WITHIN_S:
                self._deaths.popleft()
            times = len(self._deaths)
            if times > RESTARTS and not self.has_come_up:
                self.say(US, f"The {self.name} process {how}, {times} times within a short while. Giving up.")
                return False
            pause_s = min(2.0 ** (times - 2), LONGEST_PAUSE_S) if times > 1 else 0.0
            when = f" in {pause_s:.0f} s" if pause_s else ""
            self.say(US, f"The {self.name} process {how}. Starting it again{when}.")
            self._start_at = now + pause_s
        if now >= self._start_at:
            self._start_at = None
            self.start()
        return True

    def stop(self) -> None:
        """Ask it to end, wait, and kill it if it does not; then let its last lines come out."""
        if self.process is not None:
            end_process(self.process, self.stop_s)
        if self._passing_on is not None:
            self._passing_on.join(1)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()


def stop_all(children: Sequence[Child]) -> None:
    """All at once: the slowest of them says how long it takes."""
    threads = [threading.Thread(target=child.stop) for child in children]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
