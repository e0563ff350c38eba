"""Running cells: which are asked for, which are there already, and how far the one at hand is."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from benchmarks.continual.cell import run_cell
from benchmarks.continual.laboratory import Laboratory
from benchmarks.continual.method import Budget, Method
from benchmarks.continual.streams import Stream
from benchmarks.kept import Kept
from benchmarks.machine import describe_machine, library_versions
from cns.teaching import OnProgress, no_progress


@dataclass(frozen=True)
class Asked:
    """One cell that is wanted."""

    method: Method
    stream: Stream
    budget: Budget
    options: Mapping[str, float]

    @property
    def name(self) -> str:
        """Of its file: the stream's folder, the method, the seed."""
        return f"{self.stream.name}/{self.method.name}-{self.budget.seed}"

    def question(self, laboratory: Laboratory) -> str:
        """See `Laboratory.question`."""
        return laboratory.question(self.method, self.stream, self.budget, self.options)


def ask(
    methods: Sequence[Method],
    streams: Sequence[Stream],
    budget: Budget,
    repetitions: int,
    tuned: Mapping[str, Mapping[str, float]],
) -> list[Asked]:
    """Every method on every stream, repetition after repetition, with tuned options where there are any."""
    return [
        Asked(method, stream, replace(budget, seed=budget.seed + turn), method.with_tuned(tuned))
        for turn in range(repetitions)
        for stream in streams
        for method in methods
    ]


def answer(
    asked: Asked,
    laboratory: Laboratory,
    kept: Kept,
    on_progress: OnProgress = no_progress,
    *,
    name: str | None = None,
    strip: Path | None = None,
    only_the_end: bool = False,
) -> dict[str, Any]:
    """The cell as it was kept, or run and then kept.

    name: of its file, in the place of its own. strip: where its pictures go. only_the_end: see `run_cell`.
    """
    name, question = name or asked.name, asked.question(laboratory)
    found = kept.find(name, question)
    if found is not None:
        return found
    on_progress("the base's own pictures", 0, 1)
    jury = laboratory.jury(asked.stream)
    method = asked.method
    stages, tiles = run_cell(
        method,
        laboratory.base,
        jury,
        asked.budget,
        asked.options,
        only_the_end=only_the_end,
        on_progress=on_progress,
    )
    if strip is not None:
        strip.parent.mkdir(parents=True, exist_ok=True)
        tiles.save(strip, optimize=True)
    facts = {
        "stream": asked.stream.name,
        "method": method.name,
        "title": method.title,
        "family": method.family,
        "kind": method.kind,
        "tuned_as": method.tuned_as or method.name,
        "seed": asked.budget.seed,
        "options": dict(asked.options),
        "machine": describe_machine(laboratory.base.device),
        "libraries": library_versions(),
        "setup": laboratory.setup(asked.stream, asked.budget),
    }
    return kept.put(name, question, {**facts, "stages": stages})


def bar_columns() -> tuple[ProgressColumn, ...]:
    return TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()


@contextmanager
def two_bars(total: int, what: str) -> Iterator[tuple[OnProgress, Any]]:
    """Progress on stderr: how many are done, and how far the one at hand is. Yields (on_progress, on_done(name))."""
    with Progress(*bar_columns(), console=Console(stderr=True)) as progress:
        whole, part = progress.add_task(what, total=total), progress.add_task("", total=1)

        def on_progress(stage: str, done: int, of: int) -> None:
            progress.update(part, description=stage, completed=done, total=of)

        def on_done(name: str) -> None:
            progress.update(whole, advance=1, description=f"{what}, last {name}")

        yield on_progress, on_done
