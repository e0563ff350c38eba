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


class Child:
    """One program. stop_s: how long it may take to end before it is killed. sockets: numbers of sockets it inherits."""

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
        """Start it again if it has died, and say so. False when that happened too often, and it stays dead."""
        if self.alive or self.process is None:
            return True
        code = self.process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended by itself with status {code}"
        now = time.monotonic()
        self._deaths.append(now)
        while now - self._deaths[0] > RESTARTS_WITHIN_S:
            self._deaths.popleft()
        if len(self._deaths) > RESTARTS:
            self.say(US, f"The {self.name} process {how}, {len(self._deaths)} times within a short while. Giving up.")
            return False
        self.say(US, f"The {self.name} process {how}. Starting it again.")
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
