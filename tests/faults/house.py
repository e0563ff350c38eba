"""Everything by one command, as `make up` starts it: a process of its own, to be stopped and killed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from app.config import variables
from app.processes import child_options
from tests.worker.processes import ROOT, wait_until


def runs(pid: int) -> bool:
    """Whether there is such a process. One that nobody has collected yet has ended all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class House:
    """`python -m app.up` over the data in `folder`. More of the environment may be given to each start."""

    def __init__(self, folder: Path, base: Path, log: Path):
        self.folder, self.base, self.log = folder, base, log
        self.mark = uuid4().hex  # in the environment of all its processes, by which they are found again
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, until: str = r"Ready: (\S+)", **environment: str) -> "re.Match[str]":
        """Start, and wait until a line like `until` has come; returns it."""
        kept = {name: value for name, value in os.environ.items() if name not in variables()}
        mine = {"BASE_MODEL": str(self.base), "DEVICE": "cpu", "OMP_NUM_THREADS": "1", "A_MARK": self.mark}
        self.log.write_bytes(b"")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                [sys.executable, "-m", "app.up", "--folder", str(self.folder), "--port", "0"],
                cwd=ROOT,
                env={**kept, **mine, **environment},
                stdout=log,
                stderr=log,
                **child_options(signal.SIGTERM),
            )
        return self.wait_for(until)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> "re.Match[str]":
        wait_until(lambda: re.search(pattern, self.said) or not self.alive, f"it says {pattern}")
        found = re.search(pattern, self.said)
        assert found, self.said
        return found

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def pid_of(self, *words: str) -> int:
        """The process of the house whose command has all of `words`."""
        (found,) = [pid for pid, command in self.processes().items() if all(word in command for word in words)]
        return found

    def processes(self) -> dict[int, str]:
        """All that it has started and that still run, with their commands.

        A server that writes its title over its environment is known by its data, in which it works.
        """
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit():
                    continue
                ours = self.mark.encode() in (entry / "environ").read_bytes()
                if ours or (entry / "cwd").readlink().is_relative_to(self.folder):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """As Ctrl-C does; returns its status."""
        assert self.process is not None
        self.process.send_signal(sign)
        return self.process.wait(120)

    def kill_everything(self) -> None:
        """As when the machine loses its power: nobody has time to tidy up."""
        for pid in (pid for pid, _ in sorted(self.processes().items()) if runs(pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert self.process is not None
        self.process.wait()
        wait_until(self.is_empty, "everything is gone")

    def is_empty(self) -> bool:
        return not [pid for pid in self.processes() if runs(pid)]

    def close(self) -> None:
        if self.alive:
            self.kill_everything()
