"""The benchmark's figures, from its results alone: curves over the stream, and compositions."""

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from benchmarks.svg import Bar, Line, bar_chart, line_chart

OfStage = Callable[[Mapping[str, Any]], float]


def draw_charts(results: Mapping[str, Any]) -> dict[str, str]:
    """File name without its ending -> SVG, for whatever the results hold enough of."""
    judge = best_judge(results)
    charts = {}
    curves = {
        "alignment": ("Image alignment of all concepts so far", _alignment(judge), "share of the way"),
        "generic": ("Generic pictures: CLIP similarity to the base's own", _generic, "cosine"),
    }
    for name, (title, of_stage, unit) in curves.items():
        lines = _curves(results, of_stage)
        if lines:
            goal = 0.95 if name == "generic" else None
            charts[name] = line_chart(lines, title=title, x_label="concepts learned", y_label=unit, goal=goal)
    for name, title in (("pair", "Two concepts in one picture"), ("triple", "Three concepts in one picture")):
        bars = _bars(results, f"{name}_present")
        if any(bar.value for bar in bars):
            charts[name] = bar_chart(
                bars, title=title, x_label="share of pictures in which each part shows a concept of its own"
            )
    return charts


def best_judge(results: Mapping[str, Any]) -> str:
    """The one trained to tell individuals apart, where there was one."""
    has = any("individuals_final" in row["figures"] for row in results["rows"])
    return "individuals" if has else "clip"


def _alignment(judge: str) -> OfStage:
    return lambda stage: fmean(one[judge]["share"] for one in stage["concepts"].values())


def _generic(stage: Mapping[str, Any]) -> float:
    return float(stage["generic"]["clip_similarity"])


def _curves(results: Mapping[str, Any], of_stage: OfStage) -> list[Line]:
    """One line for each method that was judged after every concept, with a band from its lowest to its highest seed."""
    lines = []
    for row in _rows(results):
        runs = [
            [of_stage(stage) for stage in cell["stages"] if "concepts" in stage]
            for cell in results["cells"]
            if cell["stream"] == row["stream"] and cell["method"] == row["method"]
        ]
        if min(map(len, runs)) < 2:
            continue
        stages = list(zip(*runs, strict=True))
        means = [(float(place), fmean(values)) for place, values in enumerate(stages, start=1)]
        band = ([min(values) for values in stages], [max(values) for values in stages]) if len(runs) > 1 else ([], [])
        lines.append(Line(row["method"], means, *band))
    return lines


def _bars(results: Mapping[str, Any], figure: str) -> list[Bar]:
    families = list(dict.fromkeys(row["family"] for row in _rows(results)))
    return [
        Bar(
            row["method"],
            row["figures"][figure]["mean"],
            row["figures"][figure]["spread"] or 0.0,
            families.index(row["family"]),
        )
        for row in _rows(results)
        if figure in row["figures"]
    ]


def _rows(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of the main stream."""
    return [row for row in results["rows"] if row["stream"] == results["stream"]]
