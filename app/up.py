"""Everything on this machine by one command: `python -m app.up`, which is `make up`.

Private PostgreSQL and Valkey under `var/` (or yours: DATABASE_URL, REDIS_URL), migrations, web, worker. What they write
comes out here, a line each, with the name of who wrote it. Ctrl-C stops all of it in order; the data stays in `var/`.
"""

import argparse
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

from app.children import US
from app.first_run import NOBODY_YET
from app.instance import PORTS_TRIED, NotStarted, running

LOOK_EVERY_S = 0.5
LAST_PORT = 65535
_terminal = threading.Lock()


class Told(threading.Event):
    """Set when somebody asks to stop: Ctrl-C, `kill`, or a terminal that is closed."""

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                signal.signal(number, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.set()


def say(name: str, line: str) -> None:
    """One line on the terminal. A terminal that is gone stops nobody from stopping in order."""
    with _terminal, suppress(OSError):
        sys.stdout.write(f"{name:<10} | {line}\n")
        sys.stdout.flush()


def run(folder: Path, host: str, port: int) -> int:
    """Start, wait until told to stop, stop. Returns the exit status."""
    told = Told()
    told.listen()
    try:
        with running(folder, say, host=host, port=port, stop=told) as instance:
            if not told.is_set():
                say(US, f"Open {instance.address}")
                if instance.first_run:
                    say(US, NOBODY_YET)
                    say(US, instance.first_run)
                say(US, "The worker is loading its base model. Ctrl-C stops everything.")
            instance.web.has_come_up = True  # it has answered
            ready: int | None = None
            while not told.wait(LOOK_EVERY_S):
                if not instance.keep_alive():
                    say(US, "Stopping the rest.")
                    return 1
                if instance.worker.pid != ready and instance.worker_is_ready():
                    ready, instance.worker.has_come_up = instance.worker.pid, True
                    say(US, f"Ready: {instance.address}")
            say(US, "Stopping. What is being learned is put down and goes on at the next start.")
    except NotStarted as error:
        say(US, str(error))
        return 1
    say(US, "Stopped.")
    return 0


def port_number(word: str) -> int:
    """A number that the ports after it may be tried from, too. 0: any that is free."""
    number = int(word)
    if not 0 <= number <= LAST_PORT - PORTS_TRIED:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to {LAST_PORT - PORTS_TRIED}, not {number}")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description="Everything on this machine: database, broker, web, worker.")
    parser.add_argument("--folder", type=Path, default=Path("var"), help="where the data is kept")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=port_number, default=8000, help="the first to try")
    options = parser.parse_args()
    sys.exit(run(options.folder, options.host, options.port))


if __name__ == "__main__":
    main()
