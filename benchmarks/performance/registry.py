"""The measurements that the page tells of, in its order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from benchmarks.performance.record import Told
from benchmarks.serving import mixed
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


BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        "mixed-tenants": Benchmark("Mixed tenants", mixed.measure, mixed.report, mixed.Plan(), mixed.QUICK),
    }
)
ELSEWHERE: Mapping[str, str] = MappingProxyType({})
"""Measurements of other programs whose results are told as well: name of the results -> title."""
