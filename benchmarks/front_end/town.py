"""Somebody who has things to look at, and keeps the worker busy."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.front_end.load import Visit
from demo.rest import OPEN_STATES, Program, Refused

PROMPTS = ("a photo of a dog on the beach", "a photo of a mug on the table", "a drawing of a cat at night")
BUSY_AT_ONCE = 2  # generations that wait or run at any time; with one alone, the worker would rest between two
LONG = 20_000  # steps, as many as may be asked for: a learning that does not end while we measure
SESSION = "palimpsest_session"


@dataclass(frozen=True)
class Town:
    """history: the one with pictures. images: REST's own, the latest first. job: one that made pictures."""

    history: str
    images: Sequence[Any]
    job: str


def furnish(program: Program, rounds: int) -> Town:
    """Histories, and `rounds` generations of four pictures in the first of them."""
    history, *_ = [program.begin_history(f"notebook {number}")["id"] for number in range(3)]
    made: list[Any] = []
    job = ""
    for number in range(rounds):
        asked = program.generate(history, prompt=PROMPTS[number % len(PROMPTS)], seed=number, count=4, steps=4)
        made, job = [*asked["images"], *made], asked["job"]["id"]
    return Town(history, made, job)


def visits_of(town: Town, cookie: str, key: str) -> list[Visit]:
    """What people and programs read. Weights: a page brings a few thumbnails; programs mostly look at jobs."""
    person, program = {"Cookie": f"{SESSION}={cookie}"}, {"Authorization": f"Bearer {key}"}
    api = "/api/v1"
    pages = [
        ("studio", f"/histories/{town.history}", 4),
        ("timeline", f"/histories/{town.history}/timeline", 2),
        ("gallery", "/gallery", 2),
        ("histories", "/histories", 1),
        ("jobs", "/jobs", 1),
        ("image page", f"/images/{town.images[0]['id']}", 1),
        *(("thumbnail", f"{api}/images/{image['id']}/thumbnail?size=192", 1) for image in town.images[:12]),
    ]
    calls = [
        ("GET job", f"{api}/jobs/{town.job}", 5),
        ("GET jobs", f"{api}/jobs", 2),
        ("GET histories", f"{api}/histories", 2),
        ("GET versions", f"{api}/histories/{town.history}/versions", 1),
        ("GET generations", f"{api}/histories/{town.history}/generations", 1),
        ("GET images", f"{api}/images", 1),
        ("GET file", f"{api}/images/{town.images[0]['id']}/file", 2),
    ]
    return [
        *(Visit(name, path, weight, person) for name, path, weight in pages),
        *(Visit(name, path, weight, program) for name, path, weight in calls),
    ]


def log_in(address: str, name: str, password: str) -> str:
    """The cookie of a browser's session."""
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as browser:
        page = browser.get("/login").raise_for_status()
        token = page.text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
        browser.post("/login", data={"name": name, "password": password, "csrf_token": token})
        return str(browser.cookies[SESSION])


@contextmanager
def busy_worker(programs: Sequence[Program], history: str, pictures: Sequence[Path]) -> Iterator[None]:
    """One learning that goes on, and generations without end, one after another by each program."""
    programs[0].teach(history, "busy", "dog", pictures, {"steps": LONG})
    over = threading.Event()

    def make_pictures(program: Program, seed: int) -> None:
        while not over.is_set():
            with suppress(Refused):  # the last one is cancelled
                program.generate(history, prompt=PROMPTS[0], seed=seed, count=8, steps=50)

    threads = [threading.Thread(target=make_pictures, args=(program, seed)) for seed, program in enumerate(programs)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            while thread.is_alive():
                _cancel_all(programs[0])
                thread.join(1)


def _cancel_all(program: Program) -> None:
    for job in program.get("/jobs")["items"]:
        if job["state"] in OPEN_STATES:
            with suppress(Refused):  # it has just ended
                program.post(f"/jobs/{job['id']}/cancel", {})


def keep_on_core(pid: int, core: int) -> None:
    """Every thread of a process; those that they begin later inherit it."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), {core})


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime of proc(5)


@contextmanager
def watch_cpu(pid: int) -> Iterator[list[float]]:
    """Yields a list that has, after the block, the cores that the process used on average."""
    told: list[float] = []
    begun, used = time.monotonic(), cpu_seconds(pid)
    yield told
    told.append((cpu_seconds(pid) - used) / (time.monotonic() - begun))
