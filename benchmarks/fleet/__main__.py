"""How many devices for how many people; writes benchmarks/results/fleet.json and docs/fleet.md:

    python -m benchmarks.fleet --from benchmarks/results/mixed-tenants.json \\
        --learning-from benchmarks/results/learning-step.json
    python -m benchmarks.fleet --steps-ms 1:17.7,16:172.8 --learning-step-ms 120
    python -m benchmarks.fleet page

Times of a device come from the benchmarks of mixed tenants and of a learning step, or are given: pictures together,
and the step's time.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.fleet.assumed import Demand, Speed, speed_of, step_of_learning, steps_of_mixed_tenants
from benchmarks.fleet.page import write_page
from benchmarks.fleet.sizing import World, devices_needed, size, strain
from benchmarks.kept import rounded
from cns.history_folder import write_atomically

ROOT = Path(__file__).resolve().parents[2]
USERS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
STRAINED, STRAINS = 1_000, (0.5, 0.75, 1.0, 1.1, 1.25, 1.5, 2.0)


def read_points(words: str) -> list[tuple[int, float]]:
    """ "1:17.7,16:172.8" -> [(1, 0.0177), (16, 0.1728)]"""
    pairs = [pair.split(":") for pair in words.split(",")]
    return [(int(pictures), float(milliseconds) / 1000) for pictures, milliseconds in pairs]


def where_from(options: argparse.Namespace) -> tuple[Speed, str, bool]:
    """Times of a device, in words where they are from, and whether they were measured."""
    if options.learning_measured is None:
        learning_s, learning = options.learning_step_ms / 1000, "the learning step is given"
    else:
        results = _read(options.learning_measured)
        learning_s, learning = step_of_learning(results), f"the learning step by {_measured_by(results)}"
    if options.measured is None:
        return speed_of(read_points(options.steps_ms), learning_s), options.source, False
    results = _read(options.measured)
    said = f"measured by {_measured_by(results)}; {learning}"
    return speed_of(steps_of_mixed_tenants(results), learning_s), said, True


def _read(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def _measured_by(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    device = machine.get("gpu") or f"{machine['cores']} cores of {machine['processor']}"
    return f"{results['name']} with {results['base']['name']} on {device}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("all", "page"), default="all")
    parser.add_argument("--from", dest="measured", type=Path, help="results of the benchmark of mixed tenants")
    parser.add_argument("--steps-ms", default="", help="pictures together:milliseconds of a step, with commas")
    parser.add_argument(
        "--learning-from", dest="learning_measured", type=Path, help="results of the benchmark of a learning step"
    )
    parser.add_argument("--learning-step-ms", type=float, default=120.0, help="where it was not measured")
    parser.add_argument("--source", default="given by hand", help="where given times are from, in words for the page")
    parser.add_argument("--users", default=",".join(map(str, USERS)))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "fleet.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "fleet.md")
    options = parser.parse_args()
    if options.what == "all":
        if options.measured is None and not options.steps_ms:
            parser.error("Say where the times are from: --from or --steps-ms.")
        speed, source, is_measured = where_from(options)
        world = World(Demand(), speed, seed=options.seed)
        sizes = []
        for users in map(int, options.users.split(",")):
            sizes.append(size(world, users))
            sys.stdout.write(f"{users} people: {sizes[-1]['devices']} devices\n")
            sys.stdout.flush()
        content = {
            "name": "fleet",
            "command": shlex.join(["python", "-m", "benchmarks.fleet", *sys.argv[1:]]),
            "source": source,
            "is_measured": is_measured,
            "world": asdict(world),
            "sizes": sizes,
            "strain": strain(world, STRAINED, devices_needed(world, STRAINED)[0], STRAINS),
        }
        write_atomically(options.results, (json.dumps(rounded(content), indent=1, allow_nan=False) + "\n").encode())
    write_page(json.loads(options.results.read_text(encoding="utf-8")), options.page)


if __name__ == "__main__":
    main()
