"""Settings of each method, tried on the validation stream with as many trials as every other method has.

Ablations and bounds have no search of their own: see `Method.tuned_as`.

A trial learns the short stream and is judged at its end. The first trial has the method's defaults. Up to two thirds
of all trials are drawn from its grid, from a seed; the others go from the best so far to one of its neighbours, by one
option at a time. What was tried before counts, so that a search can be made longer though a default or a grid has moved
since. A sweep changes one option at a time, to show what each does.
"""

import random
from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil, prod
from statistics import fmean
from typing import Any

from benchmarks.continual.method import Method
from benchmarks.continual.summary import JUDGES, measure_cell
from benchmarks.kept import rounded

GENERIC_GOAL, TEXT_GOAL, PENALTY = 0.95, 0.01, 5.0
TOGETHER = 0.1
"""What two concepts in one picture count beside one alone: the stream has nine such pictures, and they vary much."""
GRID_LIMIT = 100_000
DRAWN = 2 / 3
"""The share of trials that are drawn; after these, what is near to the best is tried."""
RATES = ("lr_weights", "lr_token")


def next_trial(
    method: Method, count: int, trials: Sequence[Mapping[str, Any]], seed: int = 0
) -> dict[str, float] | None:
    """The options to try after `trials` (each with `options` and `score`), of `count` in all.

    None where there are as many already, or the grid has no more.
    """
    if not trials:
        return dict(method.options)
    if len(trials) >= count:
        return None
    aside = len(trials) - ceil(DRAWN * count)
    near = _step_aside(method, trials, aside) if aside >= 0 else None
    return near or _draw(method, trials, seed)


def _draw(method: Method, trials: Sequence[Mapping[str, Any]], seed: int) -> dict[str, float] | None:
    """A point of the grid that was not tried.

    Each is drawn anew: the same order of points gone through again, on a grid of which one option has moved, would try
    all other options' values together again that it had tried.
    """
    names, values = list(method.search_space), list(method.search_space.values())
    rng = random.Random(f"{seed} {method.name} {len(trials)}")
    if prod(len(choices) for choices in values) <= GRID_LIMIT:
        points = list(product(*values))
        rng.shuffle(points)
    else:
        points = [tuple(rng.choice(choices) for choices in values) for _ in range(10)]
    drawn = (method.with_options(dict(zip(names, point, strict=True))) for point in points)
    return next((options for options in drawn if not _was_tried(options, trials)), None)


def _step_aside(method: Method, trials: Sequence[Mapping[str, Any]], turn: int) -> dict[str, float] | None:
    """The best trial's options with one of them a step further on its grid. turn: whose it is, rates first.

    Of both neighbours that which was tried less, whatever the other options were; of equal ones the lower.
    """
    best = method.with_options(best_trial(trials)["options"])
    names = sorted(method.search_space, key=lambda name: name not in RATES)
    for place in range(len(names)):
        name = names[(turn + place) % len(names)]
        grid = [rounded(value) for value in method.search_space[name]]
        beside = [
            *sorted(value for value in grid if value < best[name])[-1:],
            *sorted(value for value in grid if value > best[name])[:1],
        ]
        for value in sorted(beside, key=lambda value: sum(trial["options"].get(name) == value for trial in trials)):
            options = method.with_options({**best, name: value})
            if not _was_tried(options, trials):
                return options
    return None


def _was_tried(options: Mapping[str, float], trials: Sequence[Mapping[str, Any]]) -> bool:
    return rounded(options) in [rounded(trial["options"]) for trial in trials]


def sweep_trials(method: Method) -> list[dict[str, float]]:
    """The defaults, and each value of each option with the other options at their defaults."""
    trials = [dict(method.options)]
    for name, values in method.search_space.items():
        for value in values:
            options = method.with_options({name: value})
            if options not in trials:
                trials.append(options)
    return trials


def score_trial(figures: Mapping[str, float]) -> float:
    """What is searched for: image alignment at the end, mean over the judges, and a tenth as much how near two
    concepts in one picture have come, less a fine for harm to generic prompts.

    Below 0.95 CLIP similarity to the base's own pictures, and beyond 1 % loss of text alignment, each hundredth costs
    as much as five hundredths of alignment. (A concept that was forgotten is not aligned at the end.)
    """
    aligned = fmean(figures[f"{judge}_final"] for judge in JUDGES if f"{judge}_final" in figures)
    disturbed = max(0.0, GENERIC_GOAL - figures["clip_generic"])
    unread = max(0.0, figures["generic_text_loss"] - TEXT_GOAL)
    return aligned + TOGETHER * figures.get("pair_share", 0.0) - PENALTY * (disturbed + unread)


def describe_trial(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's options, score and figures, for JSON."""
    figures = measure_cell(cell)
    return {"options": dict(cell["options"]), "score": score_trial(figures), "figures": figures}


def score_again(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Trials of earlier runs, scored as those of this one are."""
    return [{**trial, "score": score_trial(trial["figures"])} for trial in trials]


def describe_trials(
    title: str, grid: Mapping[str, Sequence[float]], trials: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a search has found: the trials, the best of them, and what each option of the `grid` does. For JSON."""
    return {
        "title": title,
        "grid": {name: list(values) for name, values in grid.items()},
        "best": best_trial(trials),
        "sensitivity": sensitivity(trials, list(grid)),
        "trials": trials,
    }


def best_trial(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The one with the highest score; of equal ones the first."""
    return max(trials, key=lambda trial: trial["score"])


def sensitivity(
    trials: Sequence[Mapping[str, Any]], names: Sequence[str], defaults: Mapping[str, float] | None = None
) -> dict[str, dict[str, Any]]:
    """Of each option that took more than one value: the mean score at each, and how far these means lie apart.

    defaults: those of a sweep, of which only trials with all other options at their defaults count; None for a random
    search, whose means average over whatever the other options were. The options that matter most come first.
    """
    report: dict[str, dict[str, Any]] = {}
    for name in names:
        by_value: dict[float, list[float]] = {}
        for trial in trials:
            options = trial["options"]
            if defaults is None or all(options[other] == defaults[other] for other in defaults if other != name):
                by_value.setdefault(options[name], []).append(trial["score"])
        if len(by_value) > 1:
            means = {value: fmean(scores) for value, scores in sorted(by_value.items())}
            report[name] = {
                "range": max(means.values()) - min(means.values()),
                "means": [{"value": v, "score": mean, "trials": len(by_value[v])} for v, mean in means.items()],
            }
    return dict(sorted(report.items(), key=lambda pair: -pair[1]["range"]))


def tuned_alike(tuning: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether options that were found with the one setup may be used with the other: only the stream may differ."""
    return all(tuning.get(name) == rounded(value) for name, value in run.items() if name != "stream")
