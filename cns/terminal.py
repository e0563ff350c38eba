"""What commands show in a terminal: bars, versions, the tree of a history, and what went wrong in one line."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from rich.tree import Tree

from cns.errors import CnsError
from cns.history import History, VersionRecord
from cns.teaching import OnProgress

errors = Console(stderr=True)
Command = TypeVar("Command", bound=Callable[..., None])


def told_in_a_sentence(command: Command) -> Command:
    """Turn what goes wrong on purpose, and files that cannot be used, into one line on stderr and exit code 1."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except (CnsError, OSError, torch.OutOfMemoryError) as error:
            errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None

    return run  # type: ignore[return-value]


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """A bar on stderr for each stage that reports how far it is: on_progress(stage, done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors) as progress:
        bars: dict[str, Any] = {}

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done, total=total)

        yield on_progress


def describe_version(version: VersionRecord) -> None:
    console = Console(highlight=False)
    took = sum(version.seconds.values())
    console.print(
        f"Version {version.number}: <{version.concept}> {version.class_noun}, "
        f"{version.delta_bytes / 1000:.0f} kB in {took:.0f} s, delta {version.delta[:12]}",
        markup=False,
    )
    for finding in version.diagnosis:
        console.print(f"{finding['severity']}: {finding['sentence']}", markup=False)
        if finding["severity"] != "ok":
            console.print(f"  {finding['remedy']}", markup=False)
    if version.held_back:
        console.print(
            f"It does damage, so head stays on version {version.parent}. "
            f"To use it all the same: rollback --to {version.number}.",
            style="red",
            markup=False,
            soft_wrap=True,
        )


def history_tree(history: History) -> Tree:
    """The versions as a tree for the terminal."""

    def label(number: int, text: str) -> Text:
        if number == history.head:
            return Text(f"{number}  {text}  <- head", "bold green")
        return Text(f"{number}  {text}")

    root = Tree(label(0, f"the base, {history.base_id[:12]}"))
    branches = {0: root}
    for version in history.versions:  # parents come before their children
        text = f"{version.concept} ({version.class_noun})  {version.delta[:12]}  {version.created_at}"
        branches[version.number] = branches[version.parent].add(label(version.number, text))
    return root
