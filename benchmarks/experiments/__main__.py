"""`python -m benchmarks.experiments NAME [--base FOLDER] [--quick] [--redraw]`: one by its name, or `all`."""

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.experiments import (
    ab,
    abilities,
    architectures,
    calibration,
    fraction,
    overlap,
    regulariser,
    similar,
)
from benchmarks.experiments.measuring import Workshop, open_workshop
from benchmarks.experiments.record import Places, read_figures, write_index, write_report
from benchmarks.machine import describe_machine, library_versions
from storybook import MODEL_FOLDER

EXPERIMENTS: dict[str, ModuleType] = {
    "overlap": overlap,
    "regulariser": regulariser,
    "ab": ab,
    "fraction": fraction,
    "calibration": calibration,
    "similar": similar,
    "abilities": abilities,
    "architectures": architectures,
}
DELTAS = Path("var/experiments")
FULL = Places(Path("docs/experiments"), Path("benchmarks/results"))
QUICK = Places(DELTAS / "quick", DELTAS / "quick")


def run(name: str, workshop: Workshop, places: Places) -> None:
    """Measure an experiment and write it down."""
    experiment = EXPERIMENTS[name]
    say(f"{name}: {(experiment.__doc__ or '').splitlines()[0]}")
    figures = json.loads(json.dumps(experiment.measure(workshop)))  # as they will be read: redrawing finds the same
    about = {"machine": describe_machine(workshop.base.device), "versions": library_versions()}
    write(name, {"experiment": name, "quick": workshop.quick, **about, "figures": figures}, places)


def redraw(names: list[str], places: Places) -> None:
    """Write the pages of experiments from their figures, as far as they have any."""
    for name in names:
        if places.result_of(name).is_file():
            write(name, read_figures(places, name), places)
        else:
            say(f"{name} has no figures yet: run it without --redraw.")


def write(name: str, measured: dict[str, Any], places: Places) -> None:
    """Write the page of an experiment from what was measured, and the index."""
    report = EXPERIMENTS[name].report(measured["figures"])
    write_report(places, name, measured, report)
    write_index(places)
    say("\n".join([*report.sentences, str(places.docs / f"{name}.md")]))


def say(words: str) -> None:
    """Progress, to whoever watches."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments", description=__doc__)
    parser.add_argument("name", choices=[*EXPERIMENTS, "all"])
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER, help="a diffusers folder with a CLIP under clip/")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs; nothing goes to docs/")
    parser.add_argument("--redraw", action="store_true", help="write the pages anew from figures that are there")
    options = parser.parse_args()
    names = list(EXPERIMENTS) if options.name == "all" else [options.name]
    places = QUICK if options.quick else FULL
    if options.redraw:
        redraw(names, places)
        return
    workshop = open_workshop(options.base, DELTAS, quick=options.quick, on_learning=say)
    for name in names:
        run(name, workshop, places)


if __name__ == "__main__":
    main()
