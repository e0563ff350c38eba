"""Three concepts one after another over REST, and back again: `python -m demo --out demo-out`, which is `make demo`.

Starts a service of its own, teaches it the samples, draws the same panels at every version, goes back to version 1 and
compares bytes, and lets the library learn the same to compare digests. Writes contact-sheet.png, report.json,
waits.json and service.log. Exits 0 only when all checks hold.
"""

import argparse
import os
import secrets
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Set before the libraries come in: while they are imported they warn of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import httpx
from rich.console import Console

from app.instance import NotStarted
from cns.base_model import load_base
from cns.errors import CnsError
from cns.own_settings import load_usual_settings
from cns.teaching import OnProgress, no_progress
from cns.terminal import progress_bar
from demo.comparison import learn_with_library
from demo.rest import Program, Refused, become_administrator
from demo.results import WAITS_FILE, check_service, describe_waits, report_on, write_waits
from demo.site import SiteDied, private_site
from demo.story import Plan, Told, tell
from storybook import MODEL_FOLDER, SAMPLES_FOLDER
from storybook.demo import Demo, lay_out_sheet, open_demo, show_checks, write_results
from storybook.demo_plan import Settings
from storybook.demo_report import Check, check_report
from storybook.individuals import SAMPLES

LOG = "service.log"
STARTING = "starting the service"


@dataclass(frozen=True)
class Choices:
    """What a demo may be told. changes: settings of learning that shall differ from the base's own."""

    out: Path = Path("demo-out")
    base: Path = MODEL_FOLDER
    samples: Path = SAMPLES_FOLDER
    names: tuple[str, ...] = SAMPLES
    settings: Settings = field(default_factory=Settings)
    changes: tuple[tuple[str, Any], ...] = ()
    compare: bool = True


@dataclass(frozen=True)
class Outcome:
    """checks: those of the report first, then those of the service."""

    told: Told
    report: dict[str, Any]
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def run(choices: Choices, on_progress: OnProgress = no_progress) -> Outcome:
    """The whole demo; writes its results. Raises NotStarted, SiteDied, Refused, CnsError, httpx.HTTPError."""
    begun = time.monotonic()
    changes = dict(choices.changes)
    learning = load_usual_settings(choices.base).with_changes(changes)
    demo = open_demo(choices.base, choices.samples, choices.names, settings=choices.settings, learning=learning)
    before = demo.base.checksum()
    told = use_service(choices, plan_of(demo, choices, changes), on_progress)
    library = compare(demo, on_progress) if choices.compare else None
    checksums = (before, load_base(choices.base).checksum())
    report = report_on(demo, told, checksums, time.monotonic() - begun)
    write_results(choices.out, report, lay_out_sheet(demo, told.drawings))
    write_waits(choices.out, told.waits)
    return Outcome(told, report, (*check_report(report), *check_service(demo, told, library)))


def plan_of(demo: Demo, choices: Choices, changes: dict[str, Any]) -> Plan:
    """The demo's lessons with the files they came from, in the order in which the library reads them."""
    files = {
        name: sorted((choices.samples / name).glob("*.png"), key=lambda path: int(path.stem)) for name in choices.names
    }
    pictures = {lesson.name: files[name] for name, lesson in zip(choices.names, demo.lessons, strict=True)}
    return Plan(demo.lessons, pictures, demo.panels, demo.settings, changes)


def use_service(choices: Choices, plan: Plan, on_progress: OnProgress) -> Told:
    """Everything that happens while the private site runs."""
    on_progress(STARTING, 0, 3)
    with private_site(choices.base, choices.out / LOG) as site:
        on_progress(STARTING, 1, 3)
        link = site.instance.first_run
        if link is None:
            raise NotStarted("The new service already has users.")
        key = become_administrator(link, "demo", secrets.token_urlsafe(20), "make demo")
        on_progress(STARTING, 2, 3)
        site.instance.wait_for_worker()
        on_progress(STARTING, 3, 3)
        with Program(site.api, key, site.check) as program:
            return tell(program, plan, on_progress)


def compare(demo: Demo, on_progress: OnProgress) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="palimpsest-demo-") as folder:
        return learn_with_library(demo, Path(folder) / "history", on_progress)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER, help="folder of the base, with its CLIP in clip/")
    parser.add_argument("--samples", type=Path, default=SAMPLES_FOLDER)
    parser.add_argument("--concepts", nargs="+", default=list(SAMPLES), help="folders of the samples, in order")
    parser.add_argument("--learning-steps", type=int, help="default: those of the base")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="denoising steps of each picture")
    parser.add_argument("--no-comparison", action="store_true", help="do not let the library learn the same")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does: whatever was started is stopped on the way out
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, _stop)
    console = Console(stderr=True)
    choices = Choices(
        out=options.out,
        base=options.base,
        samples=options.samples,
        names=tuple(options.concepts),
        settings=Settings(steps=options.steps),
        changes=(("steps", options.learning_steps),) if options.learning_steps is not None else (),
        compare=not options.no_comparison,
    )
    try:
        with progress_bar() as on_progress:
            outcome = run(choices, on_progress)
    except (CnsError, NotStarted, SiteDied, Refused, httpx.HTTPError) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        console.print(f"What the service said is in {options.out / LOG}.", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.", highlight=False)
        return 130
    show_checks(console, outcome.checks)
    for sentence in describe_waits(outcome.told.waits):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{outcome.report['seconds_total']:.0f} s. Look at {options.out / 'contact-sheet.png'}; each request's time is "
        f"in {options.out / WAITS_FILE}.",
        highlight=False,
        soft_wrap=True,
    )
    return 0 if outcome.holds else 1


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
