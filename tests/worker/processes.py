"""A real worker: the program that people start, in a process of its own, to be stopped and killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.config import Settings

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300.0  # for whatever is waited for; a busy machine takes its time


def wait_until(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until `true()` is, and say what was waited for when it never was."""
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {patience_s:.0f} s in vain until {what}.")
        time.sleep(0.05)


class WorkerProcess:
    """`python -m worker` with the settings given; its log is in `log`."""

    THREADS = 1

    def __init__(self, settings: Settings, folder: Path):
        self.settings, self.log = settings, folder / "worker.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, ready: bool = True) -> None:
        given = self.settings.model_dump(exclude_none=True)
        values = {name.upper(): str(value) for name, value in given.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker"],
                cwd=ROOT,
                env={**os.environ, **values, "OMP_NUM_THREADS": str(self.THREADS), "PYTHONWARNINGS": "ignore"},
                stdout=log,
                stderr=log,
            )
        if ready:
            count = self.text.count("ready.")
            wait_until(lambda: self.text.count("ready.") > count or not self.alive, "the worker is ready")
            assert self.alive, self.text

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """As when the machine loses its power."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> float:
        """Ask it to stop; returns how long that took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(sign)
        self.process.wait(timeout=PATIENCE_S)
        return time.monotonic() - begun

    def close(self) -> None:
        if self.alive:
            self.kill()
