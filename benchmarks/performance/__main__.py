"""Measure, keep the figures, and write docs/performance.md:

    python -m benchmarks.performance NAME [--base storybook|sd15-shape|sdxl-shape|FOLDER] [--device cuda] [--quick]
    python -m benchmarks.performance all       # those whose figures are not there yet; stopped, it goes on
    python -m benchmarks.performance page

A plan is changed by name: `--set rounds=3 --set limits=[1,16]`; what it has stands in the module of its measurement.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

# Set before the libraries come in: while they are imported they warn of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler, which tells what tensors held, says when it begins

import torch

from benchmarks.bases import STORYBOOK, open_base
from benchmarks.learning_step.published import NotPublished
from benchmarks.performance.page import write_page
from benchmarks.performance.record import as_kept, describe_run, is_there, place_of, write_result
from benchmarks.performance.registry import BENCHMARKS
from benchmarks.serving.peers import PeersMissing
from cns.base_model import BaseModel
from cns.compiling import CannotCompile

CANNOT = (PeersMissing, NotPublished, CannotCompile)
ROOT = Path(__file__).resolve().parents[2]


def run(name: str, base_name: str, base: BaseModel, plan: Any, results: Path, *, again: bool) -> None:
    """Measure and keep the figures; what has figures of the same run is left, unless `again`."""
    benchmark, about = BENCHMARKS[name], describe_run(name, base_name, base, plan)
    path = place_of(results, name, base_name, base.device.type)
    if not again and is_there(path, about):
        say(f"{name}: {path.name} is there")
        return
    say(f"{name} on {base_name}")
    figures = as_kept(benchmark.measure(base, plan, say))
    told = benchmark.report(figures, about["plan"])
    write_result(path, about, figures, told)
    say("\n\n".join([*told.sentences, *told.tables]))
    for bar in told.bars:
        say(f"{'holds' if bar.holds else 'MISSED'}  {bar.name}: {bar.value} (goal {bar.goal})")


def say(words: str) -> None:
    """Progress, to whoever watches."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def change_plan(plan: Any, changes: Sequence[str]) -> Any:
    """The plan with `NAME=VALUE`s, values in JSON; those that it does not have are left to other plans."""
    known = {field.name for field in fields(plan)}
    given = {name: json.loads(value) for name, _, value in (change.partition("=") for change in changes)}
    as_kept = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return replace(plan, **{name: value for name, value in as_kept.items() if name in known})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*BENCHMARKS, "all", "page"])
    parser.add_argument("--base", default=STORYBOOK, help="storybook, sd15-shape, sdxl-shape, or what can be loaded")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="float16 on a GPU, else float32")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="NAME=VALUE", help="of the plan")
    parser.add_argument("--quick", action="store_true", help="to see that it runs: few steps, one round")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    options = parser.parse_args()
    if options.name == "page":
        write_page(options.results, options.page)
        return
    dtype = options.dtype or ("float32" if options.device == "cpu" else "float16")
    base = open_base(options.base, options.device, getattr(torch, dtype))
    for name in BENCHMARKS if options.name == "all" else [options.name]:
        plan = change_plan(BENCHMARKS[name].quick if options.quick else BENCHMARKS[name].full, options.changes)
        try:
            run(name, options.base, base, plan, options.results, again=options.name != "all")
        except CANNOT as error:
            if options.name != "all":
                raise SystemExit(str(error)) from error
            say(f"{name} is left out: {error}")


if __name__ == "__main__":
    main()
