"""The continual benchmark's commands:

    python -m benchmarks.continual run --stream one --methods all --repetitions 1
    python -m benchmarks.continual page
    python -m benchmarks.continual tune --methods all --trials 9
    python -m benchmarks.continual sweep --options drift,interference

`run` learns and judges every cell that is not there yet and writes the results' JSON; stopped at any time, it goes on
with the cell that it was in. Cells and trials are kept as files in the tree, beside the results: commit them, and
another machine goes on where this one was. `page` writes the docs page from them alone. `tune` gives every method that
has a search of its own the same number of trials on the validation stream, those that its file tells of counted where
they were of the method as it now is; `run` then uses the best. `sweep` changes one setting of our CNS at a time.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Set before the libraries come in: while they are imported they warn of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from benchmarks.continual.album import join_tiles
from benchmarks.continual.beside import Opening, answer_beside, describe_task
from benchmarks.continual.laboratory import Laboratory, open_laboratory
from benchmarks.continual.low_rank import narrowest_input
from benchmarks.continual.method import Budget
from benchmarks.continual.page import strip_file, write_page
from benchmarks.continual.registry import choose
from benchmarks.continual.results import build_results, read_results, write_results
from benchmarks.continual.running import Asked, answer, ask, two_bars
from benchmarks.continual.streams import Stream, StreamRefused
from benchmarks.continual.tuning import (
    describe_trial,
    describe_trials,
    next_trial,
    score_again,
    sensitivity,
    sweep_trials,
    tuned_alike,
)
from benchmarks.kept import Kept, digest_of, rounded
from benchmarks.machine import describe_machine, library_versions
from cns.errors import CnsError
from cns.settings import UnknownSetting
from cns.teaching import OnProgress
from storybook import MODEL_FOLDER

RESULTS = Path("benchmarks/results")
SWEEP = "continual_sweep.json"


def main() -> None:
    options = _parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        {"run": run, "page": page, "tune": tune, "sweep": sweep}[options.command](options)
    except CnsError as error:
        raise SystemExit(str(error)) from error


def run(options: argparse.Namespace) -> None:
    laboratory = _open(options)
    streams = [_cut(laboratory, name, options) for name in options.stream.split(",")]
    budget = _budget(laboratory, options)
    tuned = _read_tuned(options.tuned, laboratory, budget)
    asked = ask(choose(laboratory.methods, options.methods), streams, budget, options.repetitions, tuned)
    kept, out = Kept(options.results / options.name), options.results / f"{options.name}.json"
    _show_taught(options, streams[0])

    def strip_of(one: Asked) -> Path | None:
        first = one.budget.seed == budget.seed
        return strip_file(options.docs, one.stream.name, one.method.name) if first else None

    def note(_name: str) -> None:
        """After each cell, so that a run that is killed leaves what it has in order."""
        write_results(out, _collect(laboratory, kept, options, streams, budget, tuned))

    missing = [one for one in asked if kept.find(one.name, one.question(laboratory)) is None]
    if options.at_once > 1 and len(missing) > 1:
        names = dict(zip((stream.name for stream in streams), options.stream.split(","), strict=True))
        tasks = [describe_task(one, names[one.stream.name], strip_of(one)) for one in missing]
        opening = Opening(options.base, options.concepts, options.judge, options.device, options.first)
        answer_beside(tasks, opening, kept, min(options.at_once, len(tasks)), note)
    with two_bars(len(asked), "cells") as (on_progress, on_done):
        for one in asked:
            answer(one, laboratory, kept, on_progress, strip=strip_of(one))
            note(one.name)
            on_done(one.name)
    results = read_results(out)
    sys.stdout.write(f"{len(results['cells'])} cells in {out}\n")
    for bar in results["bars"]:
        holds = "holds" if bar["holds"] else "MISSED"
        sys.stdout.write(f"{bar['name']}: {bar['value']:.3f}, goal {bar['goal']}, {holds}\n")


def _show_taught(options: argparse.Namespace, stream: Stream) -> None:
    taught = strip_file(options.docs, stream.name, "taught")
    taught.parent.mkdir(parents=True, exist_ok=True)
    join_tiles([one.lesson.pictures[0] for one in stream.concepts]).save(taught, optimize=True)


def _collect(
    laboratory: Laboratory,
    kept: Kept,
    options: argparse.Namespace,
    streams: Sequence[Stream],
    budget: Budget,
    tuned: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Results of every finished cell of this setup, also those of earlier runs with other methods or repetitions.

    They are about the first of the streams that has a cell, whichever was asked for: a run of the second adds to them.
    """
    every = {name: stream for name, stream in laboratory.streams.items() if name != "validation"}
    every |= {stream.name: stream for stream in streams}
    most = 100  # repetitions looked for
    methods = list(laboratory.methods.values())
    wanted = ask(methods, list(every.values()), budget, most, tuned)
    found = [kept.find(one.name, one.question(laboratory)) for one in wanted if kept.has(one.name)]
    cells = [cell for cell in found if cell is not None]
    main = next(stream for name, stream in every.items() if any(cell["stream"] == name for cell in cells))
    whole = len(laboratory.streams.get(main.name, laboratory.streams[options.stream.split(",")[0]]).concepts)
    setup, narrowest = laboratory.setup(main, budget), narrowest_input(laboratory.base.unet)
    return build_results(options.name, main, whole, methods, cells, setup, narrowest)


def page(options: argparse.Namespace) -> None:
    results = read_results(options.results / f"{options.name}.json")
    found = [read_results(path) if path.is_file() else None for path in (options.tuned, options.results / SWEEP)]
    write_page(options.docs, results, *found)
    sys.stdout.write(f"{options.docs}\n")


def tune(arguments: argparse.Namespace) -> None:
    laboratory = _open(arguments)
    stream, budget = _cut(laboratory, "validation", arguments), _budget(laboratory, arguments)
    chosen = choose(laboratory.methods, arguments.methods)
    methods = [method for method in chosen if method.search_space and method.tuned_as is None]
    kept = read_results(arguments.tuned) if arguments.tuned.is_file() else {}
    same = kept.get("setup") == rounded(laboratory.setup(stream, budget))
    entries: dict[str, Any] = {
        name: describe_trials(one["title"], one["grid"], score_again(one["trials"]))
        for name, one in (kept["methods"].items() if same else ())
    }
    files = Kept(arguments.results / "tuning")
    with two_bars(len(methods) * arguments.trials, "trials") as (on_progress, on_done):
        for method in methods:
            told = entries[method.name]["trials"] if method.name in entries else []
            asked = [Asked(method, stream, budget, trial["options"]) for trial in told]
            trials = [describe_trial(found) for one in asked if (found := _find_trial(one, laboratory, files))]
            for number in range(len(trials)):
                on_done(f"{method.name} {number}")
            while options := next_trial(method, arguments.trials, trials, arguments.seed):
                trials.append(_try(Asked(method, stream, budget, options), laboratory, files, on_progress))
                on_done(f"{method.name} {len(trials) - 1}")
            entries[method.name] = describe_trials(method.title, method.search_space, trials)
            best = entries[method.name]["best"]
            _write_trials(arguments.tuned, laboratory, stream, budget, {"methods": entries})
            sys.stdout.write(f"{method.name}: {best['score']:.3f} with {json.dumps(best['options'])}\n")


def sweep(options: argparse.Namespace) -> None:
    laboratory = _open(options)
    stream, budget = _cut(laboratory, "validation", options), _budget(laboratory, options)
    method = laboratory.every_setting
    if options.options:
        wanted = options.options.split(",")
        strange = [name for name in wanted if name not in method.search_space]
        if strange:
            raise UnknownSetting(f"No setting {strange[0]!r} is swept; there are {', '.join(method.search_space)}.")
        method = replace(method, search_space={name: method.search_space[name] for name in wanted})
    left = [name for name in laboratory.every_setting.search_space if name not in method.search_space]
    out = options.results / SWEEP
    files, plan = Kept(options.results / "tuning"), sweep_trials(method)
    trials = []
    with two_bars(len(plan), "trials") as (on_progress, on_done):
        for number, tried in enumerate(plan):
            trials.append(_try(Asked(method, stream, budget, tried), laboratory, files, on_progress))
            on_done(f"{method.name} {number}")
    report = sensitivity(trials, list(method.search_space), method.options)
    _write_trials(out, laboratory, stream, budget, {"sensitivity": report, "left": left, "trials": trials})
    for name, found in report.items():
        means = ", ".join(f"{one['value']:g}: {one['score']:.3f}" for one in found["means"])
        sys.stdout.write(f"{name} moves the score by {found['range']:.3f} ({means})\n")


def _try(asked: Asked, laboratory: Laboratory, files: Kept, on_progress: OnProgress) -> dict[str, Any]:
    """A trial, described; one that was made before is not made again."""
    return describe_trial(answer(asked, laboratory, files, on_progress, name=_name_trial(asked), only_the_end=True))


def _find_trial(asked: Asked, laboratory: Laboratory, files: Kept) -> dict[str, Any] | None:
    """One that was made before, of the method as it now is: what an older form of it was worth decides nothing."""
    return files.find(_name_trial(asked), asked.question(laboratory))


def _name_trial(asked: Asked) -> str:
    return f"{asked.stream.name}/{asked.method.name}-{digest_of(asked.options)[:10]}"


def _write_trials(path: Path, laboratory: Laboratory, stream: Stream, budget: Budget, found: Mapping[str, Any]) -> None:
    facts = {
        "name": path.stem,
        "machine": describe_machine(laboratory.base.device),
        "libraries": library_versions(),
        "setup": laboratory.setup(stream, budget),
        "concepts": [concept.name for concept in stream.concepts],
    }
    write_results(path, {**facts, **found})


def _read_tuned(path: Path, laboratory: Laboratory, budget: Budget) -> dict[str, dict[str, float]]:
    """The best options of each method, if they were found on this base with this budget."""
    if not path.is_file():
        return {}
    found = read_results(path)
    if not tuned_alike(found["setup"], laboratory.setup(laboratory.streams["one"], budget)):
        return {}
    return {name: one["best"]["options"] for name, one in found["methods"].items()}


def _open(options: argparse.Namespace) -> Laboratory:
    return open_laboratory(options.base, concepts=options.concepts, judge=options.judge, device=options.device)


def _cut(laboratory: Laboratory, name: str, options: argparse.Namespace) -> Stream:
    if name not in laboratory.streams:
        raise StreamRefused(f"There is no stream {name!r}; there are {', '.join(laboratory.streams)}.")
    stream = laboratory.streams[name]
    return stream if options.first is None else stream.first(options.first)


def _budget(laboratory: Laboratory, options: argparse.Namespace) -> Budget:
    budget = Budget.of(laboratory.settings)
    return budget if options.steps is None else replace(budget, steps=options.steps)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "page", "tune", "sweep"))
    parser.add_argument("--stream", default="one", help="one, two, quick, or several with commas between")
    parser.add_argument("--methods", default="all", help="all, quick, or names with commas between")
    parser.add_argument("--repetitions", type=int, default=1, help="seeds 0, 1, ... of every method on every stream")
    parser.add_argument("--first", type=int, help="cut streams after so many concepts")
    parser.add_argument("--steps", type=int, help="of each concept; default: the base's own")
    parser.add_argument("--trials", type=int, default=9, help="tune: of each method")
    parser.add_argument("--seed", type=int, default=0, help="tune: of the random search")
    parser.add_argument("--options", help="sweep: which settings, with commas between; default: all")
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER, help="folder of a base")
    parser.add_argument("--concepts", type=Path, help="folder of your own concepts, one subfolder each")
    parser.add_argument("--judge", help="folder or hub id of a CLIP; default: the one in the base's folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")
    parser.add_argument("--at-once", type=int, default=1, help="run: cells at a time, which share the threads")
    parser.add_argument("--name", default="continual", help="of the results' file and of the folder of cells")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tuned", type=Path, default=RESULTS / "continual_tuning.json")
    parser.add_argument("--docs", type=Path, help="the page; its pictures lie in the folder of its name")
    options = parser.parse_args()
    if options.docs is None:
        options.docs = Path("docs") / f"{options.name.replace('continual', 'benchmark')}.md"
    return options


if __name__ == "__main__":
    main()
