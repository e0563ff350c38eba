"""Start the web process a few times, then ask pages and REST of a private instance at given rates while its worker is
busy on one core:

    python -m benchmarks.front_end [--rates 25,50,100,200] [--seconds 30]

Writes benchmarks/results/front-end.json. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from benchmarks.front_end.figures import bar_of_start, bars_of, figures_at, markdown, sentences_of
from benchmarks.front_end.load import make_schedule, send_all
from benchmarks.front_end.start import figures_of_start, seconds_until_healthy
from benchmarks.front_end.town import BUSY_AT_ONCE, busy_worker, furnish, keep_on_core, log_in, visits_of, watch_cpu
from benchmarks.kept import rounded
from benchmarks.machine import describe_machine, library_versions
from cns.history_folder import write_atomically
from demo.rest import Program, become_administrator
from demo.site import private_site
from storybook import MODEL_FOLDER

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "storybook" / "samples" / "bolt"
WARM_UP_S = 5.0
SERVICE = ("fastapi", "uvicorn", "uvloop", "httptools", "sqlalchemy", "psycopg", "jinja2")


@dataclass(frozen=True)
class Plan:
    """rates: requests per second, one after another. generations: of four pictures each, that there are to look at."""

    rates: tuple[float, ...]
    seconds: float
    connections: int = 32
    generations: int = 6
    seed: int = 1


def measure(base: Path, plan: Plan, log: Path) -> dict[str, Any]:
    """Figures of every rate. Raises `app.instance.NotStarted`."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the worker, which inherits it: a second would wait for the core
    with private_site(base, log) as site, ExitStack() as stack:
        password = secrets.token_urlsafe(20)
        web, worker = site.instance.web.pid, site.instance.worker.pid
        if site.instance.first_run is None or web is None or worker is None:
            raise SystemExit("The private instance is not as new as it should be.")
        key = become_administrator(site.instance.first_run, "demo", password, "load")
        site.instance.wait_for_worker()
        keep_on_core(worker, min(os.sched_getaffinity(0)))
        programs = [stack.enter_context(Program(site.api, key)) for _ in range(BUSY_AT_ONCE)]
        town = furnish(programs[0], plan.generations)
        visits = visits_of(town, log_in(site.instance.address, "demo", password), key)
        stack.enter_context(busy_worker(programs, town.history, sorted(SAMPLES.glob("*.png"))))
        address = urlsplit(site.instance.address)
        host, port = address.hostname or "127.0.0.1", address.port or 80
        send_all(host, port, make_schedule(visits, 20, WARM_UP_S, plan.seed), plan.connections)
        rates = []
        for number, rate in enumerate(plan.rates):
            schedule = make_schedule(visits, rate, plan.seconds, plan.seed + number)
            with watch_cpu(worker) as used, watch_cpu(web) as web_used:
                answers = send_all(host, port, schedule, plan.connections)
            site.check()
            rates.append(figures_at(rate, plan.seconds, answers, used[0], web_used[0]))
            _say(f"{rate:g} per s: p95 {rates[-1]['p95_ms']} ms, errors {rates[-1]['errors']}")
        return {"rates": rates}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--rates", default="25,50,100,200", help="requests per second, with commas")
    parser.add_argument("--seconds", type=float, default=30, help="of each rate")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "front-end.json")
    parser.add_argument("--log", type=Path, help="keep the lines of the instance's processes there")
    options = parser.parse_args()
    plan = Plan(tuple(float(rate) for rate in options.rates.split(",")), options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        start = figures_of_start(seconds_until_healthy(Path(folder)))
        _say(f"healthy after {start['median_s']} s")
        figures = rounded({"start": start, **measure(options.base, plan, options.log or Path(folder) / "log")})
    content = {
        "name": "front-end",
        "plan": asdict(plan),
        "machine": describe_machine(torch.device("cpu")),
        "versions": {**library_versions(), **{name: version(name) for name in SERVICE}},
        "figures": figures,
        "says": sentences_of(figures["rates"]),
        "bars": [asdict(bar) for bar in [*bars_of(figures["rates"]), bar_of_start(figures["start"])]],
    }
    write_atomically(options.results, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    _say(markdown(content))


if __name__ == "__main__":
    main()
