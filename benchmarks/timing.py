"""Measuring several ways of doing the same thing in one process: in turns, so that a slow minute falls on all."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch

Seconds = dict[str, list[float]]
"""Name of a way -> how long it took, one number a round."""


def wait_for(device: torch.device) -> None:
    """Until all that was asked of the device is done: a GPU's calls return before their work is."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_time(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes, up to the end of what it asked of the device."""
    wait_for(device)
    begun = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - begun


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> Seconds:
    """Every way once a round, each round beginning with another one, so that none has always the same before it."""
    names, taken = list(ways), {name: list[float]() for name in ways}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            taken[name].append(take_time(ways[name], device))
    return taken


def medians(taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each way's rounds."""
    return {name: median(seconds) for name, seconds in taken.items()}


def times_as_long(taken: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """How many times as long `one` takes as `other`: the median of their ratios, round by round.

    What makes a round slow makes both slow, so that their ratio varies less than their times do.
    """
    return median(first / second for first, second in zip(taken[one], taken[other], strict=True))


def quantile(seconds: Sequence[float], share: float) -> float:
    """The smallest of the given values that `share` (0..1) of them do not exceed; none is made up in between."""
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
