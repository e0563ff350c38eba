"""From single answers to figures, bars and a section of the page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bars import Bar, at_least, at_most, bar_table
from benchmarks.front_end.load import Answer
from benchmarks.markdown import make_table

ASKED_PER_S = 100
P95_AT_MOST_S = 0.050
HEALTHY_WITHIN_S = 3.0
SERVED_AT_LEAST = 0.99  # of the rate, or the latencies are those of another load
BUSY_AT_LEAST = 0.9  # of the worker's one core, or it was not busy


def quantile(seconds: Sequence[float], share: float) -> float:
    """The value that `share` (0..1) of the given ones do not exceed. None is made up between two."""
    ordered = sorted(seconds)
    return ordered[max(0, min(len(ordered), -int(-share * len(ordered) // 1)) - 1)]


def summarise(answers: Sequence[Answer]) -> dict[str, Any]:
    """Latencies in ms, and what went wrong by status; 0 for no answer."""
    taken = [answer.seconds for answer in answers]
    wrong = Counter(str(answer.status) for answer in answers if answer.is_error)
    return {
        "requests": len(answers),
        "p50_ms": round(quantile(taken, 0.50) * 1000, 2),
        "p95_ms": round(quantile(taken, 0.95) * 1000, 2),
        "p99_ms": round(quantile(taken, 0.99) * 1000, 2),
        "worst_ms": round(max(taken) * 1000, 2),
        "errors": dict(sorted(wrong.items())),
    }


def figures_at(
    per_second: float, seconds: float, answers: Sequence[Answer], worker_share: float, web_share: float
) -> dict[str, Any]:
    """Of one rate. served_per_s: answers until the last one came. Shares: cores that the worker and the web process
    used on average until then.
    """
    until = max(answer.due_s + answer.seconds for answer in answers)
    names = sorted({answer.name for answer in answers})
    return {
        "asked_per_s": per_second,
        "seconds": seconds,
        "served_per_s": round(len(answers) / max(until, seconds), 2),
        "due_per_s": round(len(answers) / seconds, 2),
        "worker_share": round(worker_share, 3),
        "web_share": round(web_share, 3),
        "web_ms_a_request": round(1000 * web_share * max(until, seconds) / len(answers), 3),
        **summarise(answers),
        "by_name": {name: summarise([one for one in answers if one.name == name]) for name in names},
    }


def bars_of(rates: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """At the rate that was asked for; a bar without a value where it was not measured."""
    found = [rate for rate in rates if rate["asked_per_s"] == ASKED_PER_S]
    p95 = f"p95 in seconds at {ASKED_PER_S} requests per second while the worker is busy"
    if not found:
        return [Bar(p95, None, P95_AT_MOST_S, False)]
    rate = found[0]
    return [
        at_most(p95, rate["p95_ms"] / 1000, P95_AT_MOST_S),
        at_most("errors", sum(rate["errors"].values()), 0),
        at_least("requests served of those that were due", rate["served_per_s"] / rate["due_per_s"], SERVED_AT_LEAST),
        at_least("share of its core that the worker uses meanwhile", rate["worker_share"], BUSY_AT_LEAST),
    ]


def bar_of_start(start: Mapping[str, Any]) -> Bar:
    return at_most("seconds from start to healthy", start["median_s"], HEALTHY_WITHIN_S)


def sentences_of(rates: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was done, in words."""
    return [
        "Pages, thumbnails, files and REST of one private instance are asked for over loopback at a given rate, as by "
        "people who know nothing of each other (a Poisson process), while its worker learns and makes pictures without "
        "a break on one core. A latency counts from when the request was due. Web, database, broker and the load "
        "generator itself share what is left. *Web ms*: what a request costs the web process, in ms of a core.",
        *(
            f"At {rate['asked_per_s']:g} per second the slowest kinds, by p95, were "
            + ", ".join(f"{name} ({kind['p95_ms']:.0f} ms)" for name, kind in _slowest(rate))
            + "."
            for rate in rates
            if rate["asked_per_s"] == ASKED_PER_S
        ),
    ]


def _slowest(rate: Mapping[str, Any], most: int = 3) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(rate["by_name"].items(), key=lambda one: -one[1]["p95_ms"])[:most]


def table_of(results: Mapping[str, Any]) -> str:
    """A line for each rate, in Markdown, from what was kept."""
    rows = [
        (
            f"{rate['asked_per_s']:g}",
            rate["served_per_s"],
            *(rate[name] for name in ("p50_ms", "p95_ms", "p99_ms", "worst_ms")),
            sum(rate["errors"].values()),
            rate["worker_share"],
            rate["web_ms_a_request"],
        )
        for rate in results["figures"]["rates"]
    ]
    heads = (
        "asked per s",
        "served per s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "worst ms",
        "errors",
        "worker's cores",
        "web ms",
    )
    return make_table(heads, rows)


def markdown(results: Mapping[str, Any]) -> str:
    """What was measured, for the terminal: sentences, the rates and the bars."""
    return "\n\n".join([" ".join(results["says"]), table_of(results), bar_table(results["bars"])]) + "\n"
