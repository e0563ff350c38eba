"""Thresholds from two distributions: learnings made to have a signature, and learnings made not to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import median

from benchmarks.diagnosis.measures import Measures
from cns.diagnosis import Thresholds
from cns.remedies import Signature

DIGITS = 3


@dataclass(frozen=True)
class Limits:
    warn: float
    bad: float


@dataclass(frozen=True)
class Sample:
    """One learning. made_for, free_of: as in `benchmarks.diagnosis.plan.Recipe`."""

    measures: Measures
    made_for: frozenset[Signature]
    free_of: frozenset[Signature]


MEASURED: dict[str, tuple[Signature, str, bool]] = {
    "underfitting": ("underfitting", "share", False),
    "similarity": ("zero-shot damage", "similarity", False),
    "alignment": ("zero-shot damage", "alignment_lost", True),
    "bleeding": ("bleeding", "bleeding", True),
    "forgetting": ("forgetting", "forgetting", True),
}
"""Name in `Thresholds` -> its signature, the measure it is about, and whether high values are the bad ones."""


LEAST = {"bleeding": 0.02, "forgetting": 0.02}
"""Shares of the way of which nobody is warned. Healthy learnings at the token change nothing at all, so a limit between
them and the flawed could lie anywhere above nothing; but nobody sees a fiftieth of the way.
"""


def values_of(samples: Sequence[Sample], name: str) -> tuple[list[float], list[float]]:
    """(of those made not to have the signature, of those made to have it) for one pair of thresholds."""
    signature, measure, _ = MEASURED[name]
    healthy = [float(getattr(one.measures, measure)) for one in samples if signature in one.free_of]
    flawed = [float(getattr(one.measures, measure)) for one in samples if signature in one.made_for]
    return healthy, flawed


def fit_thresholds(samples: Sequence[Sample], otherwise: Thresholds) -> Thresholds:
    """Thresholds for every measure that has samples of both kinds; `otherwise` for the rest."""
    changes: dict[str, float] = {}
    for name, (_, _, high_is_bad) in MEASURED.items():
        healthy, flawed = values_of(samples, name)
        if not healthy or not flawed:
            continue
        # Drift and lost alignment are two measures of one signature: the second must add no false alarms of its own.
        limits = fit_limits(healthy, flawed, high_is_bad=high_is_bad, never_alarm=name == "alignment")
        if name in LEAST:
            limits = Limits(max(limits.warn, LEAST[name]), max(limits.bad, LEAST[name]))
        changes |= {f"{name}_{kind}": value for kind, value in asdict(limits).items()}
    return replace(otherwise, **changes)


def fit_limits(
    healthy: Sequence[float], flawed: Sequence[float], *, high_is_bad: bool, never_alarm: bool = False
) -> Limits:
    """warn: where the two kinds are told apart with the fewest errors, each kind counting the same; of several such
    places the one in the middle of the widest gap. bad: midway from there, or from the worst healthy value if that lies
    further, to the median of the flawed; so that hardly anything healthy is ever called bad.

    never_alarm: warn lies beyond every healthy value. Raises ValueError when one of the kinds has no value.
    """
    if not healthy or not flawed:
        raise ValueError("Thresholds need values of both kinds.")
    sign = 1.0 if high_is_bad else -1.0
    well, ill = sorted(sign * value for value in healthy), sorted(sign * value for value in flawed)
    warn = _best_cut(well, ill, never_alarm)
    bad = max(warn, (max(warn, well[-1]) + median(ill)) / 2)
    return Limits(round(sign * warn, DIGITS), round(sign * bad, DIGITS))


def _best_cut(well: Sequence[float], ill: Sequence[float], never_alarm: bool) -> float:
    """well, ill: ascending, high is bad. What lies above the cut is taken for ill."""
    points = sorted({*well, *ill})
    spread = (points[-1] - points[0]) or 1.0
    ends = [points[0] - spread / 10, *points, points[-1] + spread / 10]
    cuts = [((low + high) / 2, high - low) for low, high in pairwise(ends)]
    if never_alarm:
        cuts = [(cut, gap) for cut, gap in cuts if cut > well[-1]]

    def cost(cut: tuple[float, float]) -> tuple[float, float]:
        alarms = sum(value > cut[0] for value in well) / len(well)
        missed = sum(value <= cut[0] for value in ill) / len(ill)
        return (round(alarms + missed, 9), -cut[1])

    return min(cuts, key=cost)[0]
