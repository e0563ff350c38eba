"""The measurements that the page tells of, in its order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from benchmarks import learning_together
from benchmarks.front_end import figures as front_end
from benchmarks.learning_step import measure as learning_step
from benchmarks.performance.record import Told
from benchmarks.serving import beside, compiled, growth, limit, mixed, sizes, switching
from cns.base_model import BaseModel

Say = Callable[[str], None]


@dataclass(frozen=True)
class Benchmark:
    """measure(base, plan, say) gives raw figures; report(figures, plan as JSON) says what they come to.

    full, quick: plans; a quick one shows that it runs, and its figures mean little.
    """

    title: str
    measure: Callable[[BaseModel, Any, Say], Mapping[str, Any]]
    report: Callable[[Mapping[str, Any], Mapping[str, Any]], Told]
    full: Any
    quick: Any


def _benchmark(title: str, module: Any) -> Benchmark:
    return Benchmark(title, module.measure, module.report, module.Plan(), module.QUICK)


BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        "mixed-tenants": _benchmark("Mixed tenants", mixed),
        "switching": _benchmark("Switching", switching),
        "learning-beside-generating": _benchmark("Learning beside generating", beside),
        "learning-step": _benchmark("A learning step", learning_step),
        "bytes-per-version": _benchmark("Bytes per version", sizes),
        "growth": _benchmark("Growth", growth),
        "compiled-step": _benchmark("A compiled step", compiled),
        "distance-to-limit": _benchmark("Distance to the limit", limit),
    }
)


@dataclass(frozen=True)
class Elsewhere:
    """A measurement of another program, whose results say themselves what they come to. table: Markdown, of results."""

    title: str
    table: Callable[[Mapping[str, Any]], str]


ELSEWHERE: Mapping[str, Elsewhere] = MappingProxyType(
    {
        "learning-together": Elsewhere("Learning together", learning_together.table_of),
        "front-end": Elsewhere("The front end under load", front_end.table_of),
    }
)
"""Name of the results -> who made them."""
