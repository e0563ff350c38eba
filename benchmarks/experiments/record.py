"""What an experiment found, and how it is written down: a page and a picture for people, JSON for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar, bar_table


@dataclass(frozen=True)
class Report:
    """An experiment for people. sentences: what the figures show. table: Markdown. picture: SVG."""

    title: str
    sentences: tuple[str, ...]
    table: str
    picture: str
    bars: tuple[Bar, ...] = ()


def percent(share: float, digits: int = 0) -> str:
    """0.753 -> "75 %"."""
    return f"{100 * share:.{digits}f} %".replace("-0 %", "0 %")


@dataclass(frozen=True)
class Places:
    """Where pages and figures go. A quick run has places of its own, so that it never stands in for a full one."""

    docs: Path
    results: Path

    def result_of(self, name: str) -> Path:
        return self.results / f"experiment-{name}.json"


def write_report(places: Places, name: str, measured: Mapping[str, Any], report: Report) -> None:
    """Write what was measured and what it says: JSON for programs, a page and its picture for people.

    measured: {"experiment", "quick", "figures"} with machine and versions, or what `read_figures` gave.
    """
    bars = [asdict(bar) for bar in report.bars]
    content = {**measured, "title": report.title, "says": report.sentences, "bars": bars}
    places.results.mkdir(parents=True, exist_ok=True)
    places.result_of(name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    places.docs.mkdir(parents=True, exist_ok=True)
    (places.docs / f"{name}.svg").write_text(report.picture, encoding="utf-8")
    (places.docs / f"{name}.md").write_text(_page(name, measured, report), encoding="utf-8")


def read_figures(places: Places, name: str) -> dict[str, Any]:
    """What `write_report` wrote as JSON, whole. Raises FileNotFoundError where the experiment has not been run."""
    content: dict[str, Any] = json.loads(places.result_of(name).read_text(encoding="utf-8"))
    return content


def _page(name: str, measured: Mapping[str, Any], report: Report) -> str:
    machine, versions = measured["machine"], measured["versions"]
    quick = "**A quick run, of too few steps to mean anything.** " if measured["quick"] else ""
    parts = [
        f"# {report.title}",
        quick + " ".join(report.sentences),
        f"![{report.title}]({name}.svg)",
        report.table,
    ]
    if report.bars:
        parts.append(bar_table([asdict(bar) for bar in report.bars]))
    parts.append(
        f"Written by `python -m benchmarks.experiments {name}` from its figures in "
        f"`benchmarks/results/experiment-{name}.json`; measured on {machine['cores']} cores, "
        f"{machine['threads']} threads, {machine['device']}, torch {versions['torch']}, diffusers "
        f"{versions['diffusers']}."
    )
    return "\n\n".join(parts) + "\n"


RATES = (
    "What is learned here shows what values, masks and guards do. So values learn at one rate, the one that is the "
    "base's usual at the token, also where they reach everywhere: there the usual one may be so low that nobody is "
    "harmed, and the token says nearly all."
)


def write_index(places: Places) -> None:
    """Write docs/experiments/README.md: every experiment that has figures, with the first sentence they say."""
    lines = [
        "# Experiments",
        "",
        "Each page is written by its command from measured figures, never by hand.",
        "",
        RATES,
        "",
    ]
    lines += ["| | what it found |", "|---|---|"]
    for path in sorted(places.results.glob("experiment-*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        if "says" not in told:  # written by a program that is not one of these
            continue
        lines.append(f"| [{told['title']}]({told['experiment']}.md) | {told['says'][0]} |")
    (places.docs / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
