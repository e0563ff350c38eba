"""Calibrate the diagnosis and see what it is worth.

    python -m benchmarks.diagnosis run --cases 44 --minutes 60     as often as it takes: what was learned is kept
                                                                   here, finished cases in the tree
    python -m benchmarks.diagnosis page                            docs/diagnosis.md from the results
    python -m benchmarks.diagnosis run --cases 44 --adopt          the thresholds into the base's own file

A case takes one learning, or two with the remedy; each history two more. Eleven cases make one history's worth.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.diagnosis.bench import Bench, open_bench
from benchmarks.diagnosis.page import draw_figures, write_page
from benchmarks.diagnosis.plan import RECIPES, plan_cases
from benchmarks.diagnosis.report import fit, make_results
from benchmarks.diagnosis.running import Record, answer_case
from benchmarks.kept import Kept
from benchmarks.machine import describe_machine, library_versions
from cns.history_folder import as_json, write_atomically
from cns.own_settings import THRESHOLDS
from storybook import MODEL_FOLDER

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "diagnosis.json"
PAGE = ROOT / "docs" / "diagnosis.md"
FIGURES = "diagnosis"  # folder beside the page
KEPT = ROOT / "var" / "diagnosis"
QUICK_STEPS = 8


class TimeIsUp(Exception):
    """No further learning is to begin in this run."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="learn, measure, set thresholds")
    run.add_argument("--cases", type=int, default=4 * len(RECIPES))
    run.add_argument(
        "--minutes", type=float, help="begin no learning after this long; what is missing comes another time"
    )
    run.add_argument("--quick", action="store_true", help=f"learnings of {QUICK_STEPS} steps, to try the command")
    run.add_argument("--adopt", action="store_true", help=f"write the thresholds into the base's {THRESHOLDS}")
    run.add_argument("--base", type=Path, default=MODEL_FOLDER)
    run.add_argument("--kept", type=Path, default=KEPT, help="folder in which learnings are kept")
    run.add_argument("--results", type=Path, default=RESULTS)
    page = commands.add_parser("page", help="write the page from the results")
    page.add_argument("--results", type=Path, default=RESULTS)
    page.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if options.command == "page":
        make_page(options.results, options.page)
        return
    if options.adopt and options.quick:
        raise SystemExit("What a quick run measures is not to be adopted.")
    bench = open_bench(options.base, options.kept)
    if options.quick:
        short = replace(bench.examination, steps=4, generic_pictures=2)
        bench = replace(bench, usual=bench.usual.changed({"steps": QUICK_STEPS, "batch": 4}), examination=short)
    kept = Kept(options.kept / "quick" if options.quick else options.results.with_suffix(""))
    records = run_all(bench, options.cases, options.minutes, kept)
    about = {"name": "diagnosis", "quick": options.quick, "base_id": bench.base.id}
    about |= {"machine": describe_machine(bench.base.device), "versions": library_versions()}
    if not records:
        raise SystemExit("No case is complete yet, so there is nothing to write.")
    written = json.dumps(as_json(make_results(records, about)), indent=1, ensure_ascii=False)
    write_atomically(options.results, f"{written}\n".encode())
    tell(f"{len(records)} of {options.cases} cases are in {options.results}.")
    if options.adopt:
        adopt(records, options.base)


def run_all(bench: Bench, count: int, minutes: float | None, kept: Kept) -> list[Record]:
    """The first `count` cases, as far as the time reaches."""
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    records: list[Record] = []

    def begin(what: str) -> None:
        if time.monotonic() > deadline:
            raise TimeIsUp
        tell(f"[{len(records) + 1}/{count}] {what}")

    for case in plan_cases(count):
        try:
            records.append(answer_case(bench, case, kept, begin))
        except TimeIsUp:
            tell("The time is up; run it again to go on.")
            break
    return records


def adopt(records: list[Record], base: Path) -> None:
    """Write the thresholds beside the base's weights, from where every examination on it takes them."""
    if {record.split for record in records} != {"fit", "held out"}:
        raise SystemExit("Thresholds are adopted only when some histories were held out to judge them.")
    write_atomically(base / THRESHOLDS, f"{json.dumps(asdict(fit(records)), indent=1)}\n".encode())
    tell(f"Wrote {base / THRESHOLDS}.")


def make_page(results: Path, page: Path) -> None:
    found = json.loads(results.read_text(encoding="utf-8"))
    for name, svg in draw_figures(found).items():
        write_atomically(page.parent / FIGURES / f"{name}.svg", svg.encode())
    write_atomically(page, write_page(found, FIGURES).encode())
    tell(f"Wrote {page}.")


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
