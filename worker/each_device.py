"""One worker for each GPU of this machine: `python -m worker.each_device`. Ctrl-C stops all of them in order.

A worker is one process with one model on one device; what shares out the work between several is the queue. So each is
started with a single GPU in CUDA_VISIBLE_DEVICES and finds it as its only one. Where that variable is set already, as
by a scheduler, the GPUs that it names are taken; without a GPU there is one worker, on the device of the settings.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.exc import SQLAlchemyError

from app.children import US, Child, stop_all
from app.config import WrongSettings, settings
from app.db import make_engine, make_sessions
from app.instance import WORKER_STOPS_S
from app.jobs.workers import has_reported
from app.up import LOOK_EVERY_S, Told, say

VISIBLE = "CUDA_VISIBLE_DEVICES"
WORKER = ("-m", "worker")


def places(environment: Mapping[str, str], gpus: int) -> list[dict[str, str]]:
    """What is different in the environment of each worker. gpus: how many there are, where none are named."""
    named = environment.get(VISIBLE)
    numbers = [str(number) for number in range(gpus)] if named is None else named.split(",")
    found = [number.strip() for number in numbers if number.strip() not in ("", "-1")]
    return [{VISIBLE: number, "DEVICE": "cuda"} for number in found] or [{}]


def count_gpus() -> int:
    """Asked in a process of its own, so that this one, which only watches, does without torch."""
    ask = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return int(done.stdout)


def run(
    chosen: Sequence[Mapping[str, str]],
    told: Told,
    has_come_up: Callable[[int], bool],
    command: Sequence[str] = WORKER,
) -> int:
    """Start a worker in each place and start again what dies, until told to stop. Returns the exit status.

    One that never comes up, such as that of a GPU which is broken, is given up, and the others go on without it.
    has_come_up: whether the worker with that process id has.
    """
    workers = [
        Child(
            f"worker {place.get(VISIBLE, '')}".strip(),
            command,
            {**os.environ, "PYTHONUNBUFFERED": "1", **place},
            say,
            stop_s=WORKER_STOPS_S,
        )
        for place in chosen
    ]
    watched = list(workers)
    try:
        for worker in workers:
            worker.start()
        while not told.wait(LOOK_EVERY_S):
            for worker in watched:
                if not worker.has_come_up and worker.alive and worker.pid:
                    worker.has_come_up = has_come_up(worker.pid)
            watched = [worker for worker in watched if worker.revive()]
            if not watched:
                say(US, "No worker is left.")
                return 1
    finally:
        stop_all(workers)
    return 0


def main() -> None:
    argparse.ArgumentParser(description="One worker for each GPU of this machine, until Ctrl-C.").parse_args()
    told = Told()
    told.listen()
    try:
        engine = make_engine(settings().database_url)
    except WrongSettings as error:
        sys.exit(str(error))
    sessions = make_sessions(engine)

    def has_come_up(pid: int) -> bool:
        try:
            with sessions() as session:
                return has_reported(session, pid)
        except SQLAlchemyError:  # the database is away: it is asked again
            return False

    gpus = 0 if VISIBLE in os.environ else count_gpus()
    sys.exit(run(places(os.environ, gpus), told, has_come_up))


if __name__ == "__main__":
    main()
