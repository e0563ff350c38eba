"""What has to hold of each way of forgetting, from the figures."""

from collections.abc import Mapping
from typing import Any

FORGOTTEN_AT_MOST = 0.05  # of the way from the class noun on the untouched base to its likeness before
TRACE_AT_MOST = 1.01  # of what the old token gives on a line that never knew the concept
OTHERS_AT_LEAST = 0.99  # of each other concept's likeness before
GENERIC_AT_LEAST = 0.95  # similarity to the base's own pictures


def worst_of_others(before: Mapping[str, Any], after: Mapping[str, Any], forgotten: str) -> float:
    """The smallest share of its likeness that another concept keeps."""
    return min(after["concepts"][name] / was for name, was in before["concepts"].items() if name != forgotten)


def way_left(figures: Mapping[str, Any], way: str) -> float:
    """How far pictures of the forgotten one's class noun lie from the class noun on the untouched base (0) towards what
    its token gave before (1). Other concepts move a class noun too: the exact line shows by how much.
    """
    lost = figures["forgotten"]
    noun, before = figures["base"]["noun"][lost], figures["ways"]["before"]["concepts"][lost]
    return float((figures["ways"][way]["noun"] - noun) / (before - noun))


REACHES = {"token": "at the token", "everywhere": "everywhere"}


def bars_of(figures: Mapping[str, Any], reach: str) -> list[dict[str, Any]]:
    """{name, value, goal, holds} for each way but the line before. reach: of the values that were learned."""
    ways, lost = figures["ways"], figures["forgotten"]
    bars = []
    for way, after in ways.items():
        if way == "before":
            continue
        who = f"{REACHES[reach]}, {way}"
        removed = way_left(figures, way)
        others = worst_of_others(ways["before"], after, lost)
        bars.append(
            _at_most(
                f"{who}: what a prompt can still say of the removed concept is its class noun",
                removed,
                FORGOTTEN_AT_MOST,
            )
        )
        if way != "exact":  # the line that never knew it, which the others are held against
            trace = after["stolen"] / ways["exact"]["stolen"]
            told = f"{who}: its old token gives no more than on a line that never knew it"
            bars.append(_at_most(told, trace, TRACE_AT_MOST))
        bars += [
            _at_least(f"{who}: every other concept stays as it was", others, OTHERS_AT_LEAST),
            _at_least(f"{who}: general prompts give the base's pictures", after["generic"], GENERIC_AT_LEAST),
        ]
    return bars


def best_option(figures: Mapping[str, Any]) -> str:
    """The fast way that costs the others least; among equals the one that leaves the smaller trace."""
    ways, lost = figures["ways"], figures["forgotten"]
    fast = [way for way in ways if way not in ("before", "exact")]
    return max(
        fast,
        key=lambda way: (round(min(1.0, worst_of_others(ways["before"], ways[way], lost)), 3), -ways[way]["stolen"]),
    )


def _at_most(name: str, value: float, goal: float) -> dict[str, Any]:
    return {"name": name, "value": value, "goal": f"<= {goal}", "holds": value <= goal}


def _at_least(name: str, value: float, goal: float) -> dict[str, Any]:
    return {"name": name, "value": value, "goal": f">= {goal}", "holds": value >= goal}
