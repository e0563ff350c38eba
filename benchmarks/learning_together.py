"""Concepts of different users learned at once, against one after another:

    python -m benchmarks.learning_together [--base sd15-shape|FOLDER] [--device cuda] [--counts 1,2,4,8]

Both ways take the same steps of the same learnings in one process, in turns. Written to
benchmarks/results/learning-together.json with the machine, the raw figures and the bars.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

# Set before the libraries come in: while they are imported they warn of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from benchmarks.bars import Bar, at_least
from benchmarks.learning import renders
from benchmarks.machine import describe_machine, library_versions, peak_memory
from benchmarks.markdown import make_table
from benchmarks.sd15_shape import build_random_sd15
from cns.base_model import BaseModel, load_base
from cns.captions import TemplateCaptioner, with_token
from cns.compose import compose
from cns.history_folder import write_atomically
from cns.learning import Concept, LearningRun, LearningSettings
from cns.learning_together import find_gradients, step_together
from cns.own_settings import load_learning_settings
from cns.phrases import load_calibration_prompts
from storybook import MODEL_FOLDER
from storybook.individuals import INDIVIDUALS

RESULTS = Path(__file__).resolve().parent / "results" / "learning-together.json"
PICTURES = 5
LARGE_PX = 256
STORYBOOK, SD15_SHAPE = "storybook", "sd15-shape"
ALONE, TOGETHER = "one after another", "together"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """counts: learnings at once. batches: rows of a step of each; 0 for the base's own. steps, rounds: of each way."""

    counts: tuple[int, ...] = (1, 2, 4, 8)
    batches: tuple[int, ...] = (4, 0)
    steps: int = 4
    rounds: int = 5


# --- measuring -----------------------------------------------------------------------------------------------------


def measure(
    base: BaseModel, settings: LearningSettings, calibration: Sequence[str], plan: Plan, say: Say
) -> dict[str, Any]:
    """{"cells": one for each batch and count}."""
    cells = []
    for batch in plan.batches:
        own = replace(settings, batch=batch or settings.batch, steps=1_000_000, token_first=0.0)
        runs = [build_run(base, number, own, calibration) for number in range(max(plan.counts))]
        for count in plan.counts:
            cell = {"batch": own.batch, "is_own": not batch, "count": count, **measure_cell(runs[:count], plan)}
            cells.append(cell)
            say(f"batch {own.batch}, {count} at once: {speed_up(cell):.3f} times as fast")
    return {"cells": cells}


def build_run(base: BaseModel, number: int, settings: LearningSettings, calibration: Sequence[str]) -> LearningRun:
    """The learning of user `number`: an individual of their own, and noise of their own."""
    who = INDIVIDUALS[number % len(INDIVIDUALS)]
    pictures = tuple(renders(who, PICTURES, seed=number))
    captions = tuple(
        with_token(caption, who.noun, "<mine>") for caption in TemplateCaptioner().caption(pictures, who.noun)
    )
    concept = Concept("mine", who.noun, pictures, captions)
    return LearningRun(base, compose(base), concept, replace(settings, seed=number), calibration=calibration)


def measure_cell(runs: Sequence[LearningRun], plan: Plan) -> dict[str, Any]:
    """Seconds of a round of each way, raw, and the most memory that a step of each held."""
    device = runs[0].base.device

    def one_after_another(steps: int) -> None:
        for run in runs:
            for _ in range(steps):
                run.step()

    def together(steps: int) -> None:
        for _ in range(steps):
            for outcome in step_together(runs):
                if isinstance(outcome, Exception):
                    raise outcome

    ways = {ALONE: one_after_another, TOGETHER: together}
    memory = {}
    for name, way in ways.items():
        way(1)  # warms up, and makes the optimisers' state, which stays
        with peak_memory(device) as peak:
            way(1)
        memory[name] = peak.extra_bytes
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(plan.rounds):
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            begun = time.perf_counter()
            ways[name](plan.steps)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name].append(time.perf_counter() - begun)
    return {"seconds": seconds, "peak_bytes": memory, "gradients": compare_gradients(runs)}


def compare_gradients(runs: Sequence[LearningRun]) -> dict[str, Any]:
    """The gradients of the next step, together against alone: nothing else of a step depends on who takes it.

    same: to the bit. apart: the length of the largest difference, as a share of the gradient's own.
    """
    alone, together = [gradients([run])[0] for run in runs], gradients(runs)
    apart = [float((one - other).norm() / one.norm()) for one, other in zip(alone, together, strict=True)]
    same = all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    return {"same": same, "apart": max(apart)}


def gradients(runs: Sequence[LearningRun]) -> list[torch.Tensor]:
    """Of each run (n,), over its values and its token; no run moves."""
    find_gradients(runs, {})
    found = []
    for run in runs:
        found.append(torch.cat([part.grad.flatten() for part in (run.values, *run.token) if part.grad is not None]))
        run.forget_gradients()
    return found


# --- telling -------------------------------------------------------------------------------------------------------


def speed_up(cell: Mapping[str, Any]) -> float:
    """How many times as fast together as one after another, in total: the median over the rounds of their ratio."""
    pairs = zip(cell["seconds"][ALONE], cell["seconds"][TOGETHER], strict=True)
    return float(median(alone / together for alone, together in pairs))


def bars_of(figures: Mapping[str, Any]) -> list[Bar]:
    """Faster in total from two learnings on, at the base's own batch."""
    return [
        at_least(f"{cell['count']} concepts learned together, times as fast as one after another", speed_up(cell), 1.0)
        for cell in figures["cells"]
        if cell["is_own"] and cell["count"] > 1
    ]


OF_THE_TABLE = (
    "The last column is how far a step's gradients are from those of the same learning alone, as a share of their "
    "length; 0 is the same to the bit."
)


def sentences_of(results: Mapping[str, Any]) -> list[str]:
    plan = results["plan"]
    return [
        f"Learnings of {PICTURES} pictures each take {plan['steps']} steps one after another, then all of them "
        f"together, {plan['rounds']} rounds; medians. Memory is what one step held beyond what was held before.",
    ]


def table_of(results: Mapping[str, Any]) -> str:
    """A line for each number of learnings at each batch, in Markdown, with what its columns mean."""
    rows = []
    for cell in results["figures"]["cells"]:
        steps = results["plan"]["steps"] * cell["count"]
        seconds = [median(cell["seconds"][way]) / steps for way in (ALONE, TOGETHER)]
        memory = [_megabytes(cell["peak_bytes"][way]) for way in (ALONE, TOGETHER)]
        apart = "0" if cell["gradients"]["same"] else cell["gradients"]["apart"]
        rows.append((cell["batch"], cell["count"], *seconds, speed_up(cell), *memory, apart))
    heads = (
        *("rows of a step", "learnings", "s a step, one after another", "s a step, together", "times as fast"),
        *("MB, one after another", "MB, together", "apart"),
    )
    return "\n\n".join([OF_THE_TABLE, make_table(heads, rows)])


def markdown(results: Mapping[str, Any]) -> str:
    """What was measured, for the terminal: sentences and a table."""
    return "\n\n".join([*sentences_of(results), table_of(results)])


def _megabytes(held: int | None) -> str:
    return "not told" if held is None else f"{held / 1e6:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=STORYBOOK, help=f"{STORYBOOK}, {SD15_SHAPE} (random weights), or a folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--counts", default=",".join(map(str, Plan.counts)))
    parser.add_argument("--batches", default="4,own", help="rows of a step of each learning")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    plan = Plan(
        tuple(map(int, options.counts.split(","))),
        tuple(0 if batch == "own" else int(batch) for batch in options.batches.split(",")),
        options.steps,
        options.rounds,
    )
    with tempfile.TemporaryDirectory() as scratch:
        source = MODEL_FOLDER if options.base == STORYBOOK else options.base
        if options.base == SD15_SHAPE:
            source = build_random_sd15(Path(scratch) / SD15_SHAPE)
        is_half = options.device.startswith("cuda") and options.base != STORYBOOK
        base = load_base(source, device=options.device, dtype=torch.float16 if is_half else torch.float32)
    # As the worker does: large pictures with less memory, as few GPUs hold more.
    usual = LearningSettings(gradient_checkpointing=base.native_px >= LARGE_PX)
    settings = load_learning_settings(Path(source), usual)
    figures = measure(base, settings, load_calibration_prompts(Path(source)), plan, say)
    results: dict[str, Any] = {
        "name": "learning-together",
        "base": {"name": options.base, "id": base.id, "dtype": str(base.dtype).removeprefix("torch.")},
        "plan": asdict(plan),
        "machine": describe_machine(base.device),
        "versions": library_versions(),
        "figures": figures,
        "bars": [asdict(bar) for bar in bars_of(figures)],
    }
    results["says"] = sentences_of(results)
    write_atomically(options.results, f"{json.dumps(results, indent=1)}\n".encode())
    say(markdown(results))
    for bar in bars_of(figures):
        say(f"{'holds' if bar.holds else 'MISSED'}  {bar.name}: {bar.value}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
