"""docs/fleet.md from the kept figures: curves over the number of people, and the table behind them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.fleet.sizing import first_to_break
from benchmarks.markdown import make_table
from benchmarks.svg import Line, line_chart

CHART = "devices.svg"
USE = "use.svg"
SECONDS = {
    "wait_p50_s": "wait p50",
    "wait_p95_s": "wait p95",
    "answer_p95_s": "pictures there p95",
    "learning_wait_p95_s": "learning begun p95",
    "learning_p95_s": "learned p95",
}


def write_page(results: Mapping[str, Any], page: Path) -> None:
    """Write the page and, in a folder of its name beside it, its charts."""
    charts = page.with_suffix("")
    charts.mkdir(parents=True, exist_ok=True)
    (charts / CHART).write_text(devices_chart(results), encoding="utf-8")
    (charts / USE).write_text(use_chart(results), encoding="utf-8")
    page.write_text(words_of(results, charts.name), encoding="utf-8")


def devices_chart(results: Mapping[str, Any]) -> str:
    """Both axes in powers of ten, as people and devices go over five of them."""
    points = [(math.log10(one["users"]), math.log10(one["devices"])) for one in results["sizes"]]
    return line_chart(
        [Line("devices", points)],
        title="Devices for so many people, both as powers of ten",
        x_label="people, 10 to the power of",
        y_label="devices, 10 to the power of",
    )


def use_chart(results: Mapping[str, Any]) -> str:
    """Where a line crosses 0, that part has as much to do as one server of it is taken to bear."""
    parts = list(results["sizes"][0]["used"])
    lines = [
        Line(part, [(math.log10(one["users"]), math.log10(one["used"][part])) for one in results["sizes"]])
        for part in parts
    ]
    return line_chart(
        lines,
        title="Load of the shared parts against what one server bears, as powers of ten",
        x_label="people, 10 to the power of",
        y_label="share of one server, 10 to the power of",
        goal=0.0,
        width_px=980,
    )


def words_of(results: Mapping[str, Any], charts: str) -> str:
    """The page's text. charts: the folder of its charts, as the page sees it."""
    sizes = results["sizes"]
    parts = [
        "# A fleet, simulated",
        f"*Written by `{results['command']}`; the figures are in `benchmarks/results/fleet.json`.*",
        "People arrive, ask for pictures and teach concepts; devices make them in shared batches, give learning its "
        "share, fail and come back; the shared parts are asked for what the code asks of them. What follows from the "
        "rules of the service and from the numbers below is a computation, not a measurement.",
        _times(results),
        _people(results["world"]),
        "## How many devices",
        f"![Devices for so many people]({charts}/{CHART})",
        _device_table(sizes),
        f"Up to {results['world']['cell']:,} people are simulated as they are; more count as so many fleets of that "
        "size side by side, which one queue for all is never worse than. *Busy*: share of the time that a device "
        "works. *Warm*: share of requests that are begun where their user was served last, whose version is at hand "
        "there.",
        "## More people than it was made for",
        f"The fleet for {results['strain'][0]['users'] / results['strain'][0]['times']:,.0f} people, when others come. "
        "A queue that grows for an hour says that the devices have become too few; until then requests share batches "
        "and take longer, but begin at once.",
        _strain_table(results["strain"]),
        "## Where it breaks first",
        _first(sizes),
        f"![Load of the shared parts]({charts}/{USE})",
        _load_table(sizes),
        _capacity(results["world"]["capacity"]),
    ]
    return "\n\n".join(parts) + "\n"


def _times(results: Mapping[str, Any]) -> str:
    speed = results["world"]["speed"]
    given = "" if results["is_measured"] else " They were **given, not measured here**: the curves move with them."
    return (
        f"**Times of a device:** {results['source']}. A denoising step of n pictures together takes "
        f"{1000 * speed['fixed_s']:.2f} + n × {1000 * speed['picture_s']:.2f} ms, at most {speed['batch']} together; "
        f"an optimiser step {1000 * speed['learning_step_s']:.1f} ms.{given}"
    )


def _people(world: Mapping[str, Any]) -> str:
    demand, goals = world["demand"], world["goals"]
    return (
        f"**People:** each asks {demand['generations_a_day']:g} times a day for {demand['pictures']} pictures of "
        f"{demand['steps']} steps and teaches {demand['learnings_a_day']:g} concepts a day of "
        f"{demand['learning_steps']} steps; the busiest hour has {demand['peak']:g} times the average. **Enough** is "
        f"when 95 of 100 requests begin within {goals['wait_s']:g} s and 95 of 100 learnings within "
        f"{goals['learning_wait_s']:g} s in that hour."
    )


def _device_table(sizes: Sequence[Mapping[str, Any]]) -> str:
    heads = ("people", "devices", "people a device", "busy", "warm", *(f"{said} s" for said in SECONDS.values()))
    rows = [
        (
            f"{one['users']:,}",
            f"{one['devices']:,}",
            f"{one['users_a_device']:.1f}",
            f"{one['busy']:.2f}",
            f"{one['warm']:.2f}",
            *(f"{one[name]:.2f}" for name in SECONDS),
        )
        for one in sizes
    ]
    return make_table(heads, rows)


def _strain_table(strain: Sequence[Mapping[str, Any]]) -> str:
    heads = ("people", "devices", "busy", "still waiting at the end", *(f"{said} s" for said in SECONDS.values()))
    rows = [
        (
            f"{one['users']:,}",
            one["devices"],
            f"{one['busy']:.2f}",
            f"{one['in_queue']:,}",
            *(f"{one[name]:.2f}" for name in SECONDS),
        )
        for one in strain
    ]
    return make_table(heads, rows)


def _load_table(sizes: Sequence[Mapping[str, Any]]) -> str:
    heads = ("people", "transactions per s", "messages per s", "connections", "GB a day", "TB after a year")
    rows = [
        (
            f"{one['users']:,}",
            f"{one['loads']['transactions_per_s']:,.1f}",
            f"{one['loads']['messages_per_s']:,.2f}",
            f"{one['loads']['connections']:,.0f}",
            f"{one['loads']['store_bytes_a_day'] / 1e9:,.2f}",
            f"{one['loads']['store_bytes_a_year'] / 1e12:,.2f}",
        )
        for one in sizes
    ]
    return make_table(heads, rows)


def _capacity(capacity: Mapping[str, float]) -> str:
    return (
        f"One server of each part is taken to bear {capacity['transactions_per_s']:,.0f} transactions per s, "
        f"{capacity['connections']:,.0f} connections, {capacity['messages_per_s']:,.0f} messages per s and "
        f"{capacity['store_bytes'] / 1e12:,.0f} TB. These four are assumptions, to be replaced by your own in "
        "`benchmarks/fleet/assumed.py`, where all the others stand. Bytes of pictures and versions are those of the "
        "shape of Stable Diffusion 1.5 at 512 px; transactions and messages are estimates from reading the code."
    )


def _first(sizes: list[dict[str, Any]]) -> str:
    found = first_to_break(sizes)
    if found is None:
        return f"Nothing that is shared has more to do than one server bears, up to {sizes[-1]['users']:,} people."
    part, users = found
    return f"With {users:,} people one server does not suffice any more for: **{part}**."
