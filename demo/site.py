"""A whole service for one demo: in a temporary folder, on a port that is free, gone when the block is left."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.config import variables
from app.instance import Instance, running
from storybook import MODEL_FOLDER

OFTEN = "1000000/minute"  # nobody else is there, and on a fast machine a demo asks faster than people may


class SiteDied(Exception):
    """A part of the service ended by itself; the sentence says which."""


@dataclass(frozen=True)
class Site:
    """instance: what runs. log: the file that every line of its processes goes to."""

    instance: Instance
    log: Path

    @property
    def api(self) -> str:
        return f"{self.instance.address}/api/v1"

    def check(self) -> None:
        """Raise SiteDied unless web and worker are alive: whoever waits for their answer would wait for ever."""
        for child in (self.instance.web, self.instance.worker):
            if not child.alive:
                raise SiteDied(
                    f"The {child.name} process ended in the middle of the demo; its lines are in {self.log}."
                )


@contextmanager
def private_site(base: Path, log: Path) -> Iterator[Site]:
    """Start everything on the base in that folder. Raises `app.instance.NotStarted`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    writing = threading.Lock()
    with (
        log.open("w", encoding="utf-8") as lines,
        tempfile.TemporaryDirectory(prefix="palimpsest-demo-", ignore_cleanup_errors=True) as folder,
    ):

        def say(name: str, line: str) -> None:
            with writing:
                lines.write(f"{name:<10} | {line}\n")
                lines.flush()

        # Nobody keeps these data, so nothing waits for the disk.
        with running(Path(folder), say, environment=environment_for(base), durable=False) as instance:
            yield Site(instance, log)


def environment_for(base: Path) -> dict[str, str]:
    """This process' environment without settings of a service: those of another one are no business of the demo.

    On the CPU, where the library demo runs too, as the same bytes are expected of both.
    """
    kept = {name: value for name, value in os.environ.items() if name not in variables()}
    embedded = base.resolve() == MODEL_FOLDER.resolve()
    return kept | {
        "BASE_MODEL": "storybook" if embedded else str(base.resolve()),
        "DEVICE": "cpu",
        "API_RATE": OFTEN,
        "START_RATE": OFTEN,
    }
