"""Compiling in a process of its own, behind everything else that the machine does.

Compiling is minutes of Python and of a C++ compiler. On a thread of the worker it would take Python's lock away from
the engine at every operation of a step, and those who wait for pictures would wait several times as long.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from app.processes import Process, end_process
from cns.base_model import BaseModel
from cns.compiled import CompiledDenoiser
from cns.compiling import CannotCompile, Form, find_compiler

LIMIT_S = 3600.0  # behind everything else a compilation may take long; one that takes longer is given up
PATIENCE_S = 2.0
NICEST = 19


class Compiler:
    """Makes compiled denoisers of `base`, one after another. For one thread, but for `stop`."""

    def __init__(self, base: BaseModel):
        self._base = base
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._stopped = False

    def compile(self, form: Form) -> CompiledDenoiser:
        """Wait for the program and load it. Raises CannotCompile, also when it was stopped meanwhile."""
        if find_compiler() is None:
            raise CannotCompile("There is no C++ compiler here (g++, or what CXX names).")
        with tempfile.TemporaryDirectory(prefix="palimpsest-step-") as folder:
            path = Path(folder) / "step.pt2"
            self._make(form, path)
            return CompiledDenoiser(self._base, form, path)

    def stop(self) -> None:
        """End what runs; from any thread."""
        with self._lock:
            self._stopped, process = True, self._process
        if process is not None:
            _end_group(process)

    def _make(self, form: Form, path: Path) -> None:
        task = {
            "config": {name: value for name, value in self._base.unet.config.items() if not name.startswith("_")},
            "form": form.to_json(),
            "device": str(self._base.device),
            "path": str(path),
            "worker": os.getpid(),
        }
        process = self._start(path.parent)
        try:
            _, errors = process.communicate(json.dumps(task).encode(), timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            _end_group(process)
            raise CannotCompile(f"Compiling the step took more than {LIMIT_S / 60:.0f} minutes.") from None
        finally:
            with self._lock:
                self._process = None
        if process.returncode != 0:
            lines = errors.decode(errors="replace").strip().splitlines() or [
                f"The compiling process ended with {process.returncode}."
            ]
            raise CannotCompile(lines[-1])

    def _start(self, folder: Path) -> Process:
        """One thread, and caches that are gone with the folder: what others could write to is not to be run here."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
            "TRITON_CACHE_DIR": str(folder / "triton"),
        }
        with self._lock:
            if self._stopped:
                raise CannotCompile("The worker stops.")
            self._process = subprocess.Popen(  # noqa: S603 - our own module by our own interpreter
                [*_behind_all(), sys.executable, "-m", "worker.compile_form"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # A group of its own, so that it is ended with its C++ compiler, and by us alone; but no session of its
                # own: Linux shares the processor out between sessions first, and being nice would count for nothing.
                process_group=0,
            )
            return self._process


def _behind_all() -> list[str]:
    """What makes a command begin as the nicest of all, so that not even its start is waited for; part of POSIX."""
    nice = shutil.which("nice")
    return [nice, "-n", str(NICEST)] if nice else []


def _end_group(process: Process) -> None:
    """The process and whatever it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it ended just now
            os.killpg(process.pid, signal.SIGTERM)
    end_process(process, PATIENCE_S)
