"""Bars: numbers that were asked for, and whether what was measured reaches them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.markdown import make_table


@dataclass(frozen=True)
class Bar:
    """A number that was asked for. holds: whether `value` reaches `goal`; which side counts is said by `name`.

    value: None where nothing could be measured, and then nothing holds. against: the rival that the value is the
    difference to, None for a fixed goal.
    """

    name: str
    value: float | None
    goal: float
    holds: bool
    against: str | None = None


def at_least(name: str, value: float, goal: float) -> Bar:
    """A bar that holds from `goal` upwards."""
    return Bar(name, float(f"{value:.4g}"), goal, value >= goal)


def at_most(name: str, value: float, goal: float) -> Bar:
    """A bar that holds up to `goal`."""
    return Bar(name, float(f"{value:.4g}"), goal, value <= goal)


def bar_table(bars: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of bars as they stand in results' JSON."""
    rows = []
    for bar in bars:
        value, goal = "not measured" if bar["value"] is None else bar["value"], bar["goal"]
        if bar.get("against") is not None:
            value, goal = f"{value:+.4f}", f"better than `{bar['against']}`, the best other"
        rows.append((bar["name"], value, goal, "yes" if bar["holds"] else "**no**"))
    return make_table(("asked for", "measured", "goal", "holds"), rows)
