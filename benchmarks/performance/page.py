"""docs/performance.md, written from the results' JSON alone and never by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.performance.record import Told, read_results
from benchmarks.performance.registry import BENCHMARKS, ELSEWHERE

HEAD = """# Performance

Written by `python -m benchmarks.performance page` from `benchmarks/results/`; not to be edited. `make performance`
measures what is not there yet, and writes this page. Ours and the peers run in one process, in turns; figures are
medians over the rounds. Where a shape is named, its weights are random: what is measured is size and speed.
"""


def write_page(results: Path, page: Path) -> None:
    """Write the page, and beside it its charts under figures/performance/."""
    charts = page.parent / "figures" / "performance"
    sections, overview = [], []
    for name, title in _titles().items():
        for content in read_results(results, name):
            told = told_of(content)
            sections.append(_section(title, content, told, page, charts))
            overview += [(title, content, bar) for bar in told.bars]
    parts = [HEAD, _overview(overview), *sections]
    page.write_text("\n".join(part.rstrip() + "\n" for part in parts), encoding="utf-8")


def _titles() -> dict[str, str]:
    return {name: one.title for known in (BENCHMARKS, ELSEWHERE) for name, one in known.items()}


def told_of(content: Mapping[str, Any]) -> Told:
    """What a result's figures come to; of another program's, what it says itself, with its table where it is known."""
    name = content["name"]
    if name in BENCHMARKS:
        return BENCHMARKS[name].report(content["figures"], content["plan"])
    tables = (ELSEWHERE[name].table(content),) if name in ELSEWHERE else ()
    return Told(tuple(content.get("says", ())), tables, tuple(Bar(**bar) for bar in content["bars"]))


def _overview(bars: Sequence[tuple[str, Mapping[str, Any], Bar]]) -> str:
    held = sum(bar.holds for _, _, bar in bars)
    rows = ["| | asked for | measured | goal | holds |", "|---|---|---:|---:|---:|"]
    for title, content, bar in bars:
        value = "not measured" if bar.value is None else f"{bar.value:.4g}"
        holds = "yes" if bar.holds else "**no**"
        rows.append(f"| {title}{_on(content)} | {bar.name} | {value} | {bar.goal:g} | {holds} |")
    return f"{held} of {len(bars)} bars hold.\n\n" + "\n".join(rows)


def _section(title: str, content: Mapping[str, Any], told: Told, page: Path, charts: Path) -> str:
    parts = [f"## {title}{_on(content)}", _about(content), " ".join(told.sentences)]
    for name, picture in told.charts.items():
        charts.mkdir(parents=True, exist_ok=True)
        path = charts / f"{name}.svg"
        path.write_text(picture, encoding="utf-8")
        parts.append(f"![{name}]({path.relative_to(page.parent).as_posix()})")
    parts += told.tables
    return "\n\n".join(part for part in parts if part)


def _on(content: Mapping[str, Any]) -> str:
    """On what, where that is not the storybook on the CPU."""
    base, device = content.get("base", {}).get("name", "storybook"), content["machine"].get("device", "cpu")
    said = [*([] if base == "storybook" else [Path(base).name]), *([] if device == "cpu" else [device])]
    return f" ({', '.join(said)})" if said else ""


def _about(content: Mapping[str, Any]) -> str:
    machine, versions, plan = content["machine"], content["versions"], content.get("plan", {})
    told = [machine.get("gpu") or machine["processor"], f"{machine['cores']} cores", f"{machine['threads']} threads"]
    told += [content["base"]["dtype"]] if "base" in content else []
    told += [f"{name} {number}" for name, number in versions.items() if name in ("torch", "diffusers", "peft")]
    if plan.get("rounds") == 1:
        told.insert(0, "**one round alone, so provisional**")
    elif "rounds" in plan:
        told.insert(0, f"{plan['rounds']} rounds")
    return f"{', '.join(told)}."
