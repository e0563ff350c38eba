"""Processes that we start ourselves, and that end with us."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

Process = subprocess.Popen[bytes]


def child_options(on_our_death: signal.Signals = signal.SIGTERM) -> dict[str, object]:
    """For Popen: a child that gets no Ctrl-C of the terminal, since we end ours in order, and that does not outlive us,
    however we end, where the system can see to that. It gets `on_our_death` when the thread that started it is gone.
    """
    options: dict[str, object] = {"start_new_session": True}
    if sys.platform == "linux":
        ours = os.getpid()
        options["preexec_fn"] = lambda: die_with(ours, on_our_death)
    return options


def die_with(parent: int, sign: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux, in a child, to send it `sign` when the thread of `parent` that started it is gone."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, sign)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), sign)


def end_process(process: Process, patience_s: float, sign: signal.Signals = signal.SIGTERM) -> None:
    """Ask a process to end, wait, and kill it when it does not."""
    if process.poll() is not None:
        return
    process.send_signal(sign)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_left_over(pid_file: Path, folder: Path, sign: signal.Signals, patience_s: float) -> None:
    """End the server that an earlier run of ours left behind in `folder`, which it has as its working folder.

    pid_file: its number in the first line. A number that belongs to some other program by now is let be.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    if not works_in(pid, folder):
        return
    with suppress(ProcessLookupError):
        os.kill(pid, sign)
    deadline = time.monotonic() + patience_s
    while works_in(pid, folder) and time.monotonic() < deadline:
        time.sleep(0.05)


def works_in(pid: int, folder: Path) -> bool:
    """Whether a process has `folder` as its own; one that has ended has none, even while its number is taken."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:  # it is gone, or it is not ours, or this is not Linux
        return False
