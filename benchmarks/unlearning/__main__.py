"""Learn individuals, forget one from the middle in every way, measure, write the results and docs/unlearning.md:
with values that apply at their token, and with values that reach everywhere.

    python -m benchmarks.unlearning

Killed and started again it goes on from what lies under `--work`. `--steps` and `--seeds` make it quick and worthless.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

# Set before the libraries come in: while they are imported they warn of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from benchmarks.machine import describe_machine, library_versions
from benchmarks.unlearning.bars import bars_of
from benchmarks.unlearning.lines import Experiment, make_lines, overlap_with_later
from benchmarks.unlearning.measure import PLACES, Measure, measure_base, measure_line
from benchmarks.unlearning.memory import Memory
from benchmarks.unlearning.page import write_page
from cns.base_model import load_base
from cns.captions import RetrievalCaptioner
from cns.history_folder import write_atomically
from cns.judge import load_judge
from cns.own_settings import load_generation_settings, load_usual_settings
from cns.unlearning import DEFAULT_OPTION
from storybook import MODEL_FOLDER
from storybook.individuals import find_individual
from storybook.likeness import find_likeness

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--names", default="coral,jade,misty,sunny", help="in the order of learning")
    parser.add_argument("--forget", default="jade", help="one of them; misty, which comes after it, is a cat as well")
    parser.add_argument("--steps", type=int, help="of each learning; the base's own number without it")
    parser.add_argument("--seeds", type=int, default=3, help="pictures of each concept in each of four places")
    parser.add_argument("--generic", type=int, default=16, help="pictures of general prompts")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "unlearning")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "unlearning.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "unlearning.md")
    options = parser.parse_args()

    likeness, clip = find_likeness(options.base), load_judge(options.base / "clip")
    if likeness is None:
        raise SystemExit(f"{options.base} has no individuals' encoder.")
    guidance = load_generation_settings(options.base).guidance
    measure = Measure(likeness, clip, seeds=options.seeds, generic=options.generic, guidance=guidance)
    base, captioner = load_base(options.base), RetrievalCaptioner.of_base(clip, options.base)
    individuals = tuple(find_individual(name) for name in options.names.split(","))
    usual = load_usual_settings(options.base).by_reach
    reaches = {}
    for reach in ("token", "everywhere"):
        settings = replace(usual[reach], steps=options.steps or usual[reach].steps)
        experiment = Experiment(base, options.base, captioner, settings, individuals, options.forget)
        memory = Memory(options.work / f"{experiment.key}-{measure.key(options.base)}")
        reaches[reach] = measure_all(experiment, measure, memory)
    results: dict[str, Any] = {
        "machine": describe_machine(torch.device("cpu")),
        "versions": library_versions(),
        "reaches": reaches,
        "bars": [bar for reach, figures in reaches.items() for bar in bars_of(figures, reach)],
    }
    write_atomically(options.results, f"{json.dumps(results, indent=1)}\n".encode())
    write_atomically(options.page, write_page(results, DEFAULT_OPTION.value).encode())
    for bar in results["bars"]:
        say(f"{'holds' if bar['holds'] else 'FAILS'}  {bar['value']:.3f} {bar['goal']}  {bar['name']}")


def measure_all(experiment: Experiment, measure: Measure, memory: Memory) -> dict[str, Any]:
    """The figures of one reach, for JSON."""
    lines = make_lines(experiment, memory, say)
    say("measuring the base")
    base = memory.figures("base", lambda: measure_base(experiment, measure))
    ways = {}
    for line in lines:
        say(f"measuring: {line.way}")
        ways[line.way] = memory.figures(
            line.way,
            lambda: measure_line(experiment, measure, line, lines[0], base["generic"]),  # noqa: B023
        )
    return {
        "nouns": {who.name: who.noun for who in experiment.individuals},
        "forgotten": experiment.forgotten,
        "settings": experiment.settings.to_json(),
        "pictures": measure.seeds * len(PLACES),
        "generic_pictures": measure.generic,
        **overlap_with_later(experiment, lines[0].deltas),
        "base": {name: value for name, value in base.items() if name != "generic"},
        "ways": ways,
    }


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
