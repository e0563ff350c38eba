"""Cells beside each other, each in a process with its share of the threads: a small step leaves a second one idle."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from benchmarks.continual.laboratory import Laboratory, open_laboratory
from benchmarks.continual.method import Budget
from benchmarks.continual.running import Asked, answer, bar_columns
from benchmarks.kept import Kept

LOOK_S = 0.2


@dataclass(frozen=True)
class Opening:
    """How a process comes by its laboratory: see `open_laboratory`. first: streams are cut after so many concepts."""

    base: Path
    concepts: Path | None
    judge: str | None
    device: str
    first: int | None


@dataclass(frozen=True)
class Task:
    """One cell as another process is told of it. strip: where its pictures go."""

    method: str
    stream: str
    budget: Budget
    options: dict[str, float]
    strip: Path | None


def describe_task(asked: Asked, stream: str, strip: Path | None) -> Task:
    """stream: its name in the laboratory, which a cut one has no more."""
    return Task(asked.method.name, stream, asked.budget, dict(asked.options), strip)


def answer_beside(
    tasks: Sequence[Task], opening: Opening, kept: Kept, at_once: int, on_done: Callable[[str], None]
) -> None:
    """Run them, `at_once` at a time, and keep each. on_done: called with the name of each that is there."""
    context = get_context("spawn")  # torch's threads do not survive a fork
    told = context.Queue()
    threads = max(1, torch.get_num_threads() // at_once)
    with (
        ProcessPoolExecutor(at_once, context, _begin, (opening, kept.folder, threads, told)) as pool,
        _bars(len(tasks)) as show,
    ):
        waiting = {pool.submit(_answer, task): task for task in tasks}
        try:
            while waiting:
                done, _ = wait(waiting, LOOK_S, FIRST_COMPLETED)
                show(told, len(done))
                for one in done:
                    on_done(_name(waiting.pop(one), one))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what is under way is finished and kept, and nothing else begun
            raise


def _name(task: Task, done: Future[None]) -> str:
    done.result()
    return f"{task.stream}/{task.method}-{task.budget.seed}"


# --- in the other process -------------------------------------------------------------------------------------------

_at_hand: list[tuple[Laboratory, Opening, Kept, Any]] = []
"""What this process was begun with: the library hands nothing from there to the tasks."""


def _begin(opening: Opening, folder: Path, threads: int, told: Any) -> None:
    torch.set_num_threads(threads)
    told.cancel_join_thread()  # else this process could not end once nobody reads its progress any more
    laboratory = open_laboratory(opening.base, concepts=opening.concepts, judge=opening.judge, device=opening.device)
    _at_hand.append((laboratory, opening, Kept(folder), told))


def _answer(task: Task) -> None:
    [(laboratory, opening, kept, told)] = _at_hand
    stream = laboratory.streams[task.stream]
    stream = stream if opening.first is None else stream.first(opening.first)
    asked = Asked(laboratory.methods[task.method], stream, task.budget, task.options)

    def on_progress(stage: str, done: int, of: int) -> None:
        told.put((os.getpid(), f"{task.method}: {stage}", done, of))

    answer(asked, laboratory, kept, on_progress, strip=task.strip)


# --- what is shown meanwhile ----------------------------------------------------------------------------------------


@contextmanager
def _bars(total: int) -> Iterator[Callable[[Any, int], None]]:
    """One bar for all and one a process. Yields show(what the processes told, how many cells have become done)."""
    with Progress(*bar_columns(), console=Console(stderr=True)) as progress:
        whole = progress.add_task("cells", total=total)
        parts: dict[int, TaskID] = {}

        def show(told: Any, done: int) -> None:
            progress.advance(whole, done)
            while True:
                try:
                    process, stage, steps, of = told.get_nowait()
                except Empty:
                    return
                if process not in parts:
                    parts[process] = progress.add_task("", total=1)
                progress.update(parts[process], description=stage, completed=steps, total=of)

        yield show
