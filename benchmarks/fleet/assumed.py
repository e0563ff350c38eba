"""What the simulation is told: how much people ask for, how fast a device is, how often it fails, what a job costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

DAY_S = 86_400.0
FEWEST_POINTS = 2  # that a line can be laid through


@dataclass(frozen=True)
class Demand:
    """Of one user, on an average day. peak: how much more than on average is asked for in the busiest hour."""

    generations_a_day: float = 20.0
    learnings_a_day: float = 0.2
    pictures: int = 4
    steps: int = 25
    learning_steps: int = 260
    peak: float = 4.0

    def generations_per_s(self, users: float) -> float:
        return users * self.generations_a_day * self.peak / DAY_S

    def learnings_per_s(self, users: float) -> float:
        return users * self.learnings_a_day * self.peak / DAY_S


@dataclass(frozen=True)
class Speed:
    """Of one device. A denoising step of n pictures together takes fixed_s + n * picture_s.

    batch: pictures that share a step at most. learning_step_s: one optimiser step. cold_s: what a version costs on a
    device that has not served it before. share: of the device that learning gets while pictures are made.
    """

    fixed_s: float
    picture_s: float
    learning_step_s: float
    batch: int = 16
    cold_s: float = 0.1
    share: float = 0.5
    learnings: int = 4

    def step_s(self, pictures: int) -> float:
        return self.fixed_s + pictures * self.picture_s

    def busy_per_s(self, demand: Demand, users: float) -> float:
        """Devices that would be busy all the time if no step were ever less than full."""
        of_a_picture = demand.steps * self.step_s(self.batch) / self.batch
        made = demand.generations_per_s(users) * demand.pictures * of_a_picture
        return made + demand.learnings_per_s(users) * demand.learning_steps * self.learning_step_s


@dataclass(frozen=True)
class Failures:
    """days_between: of one device, on average. restart_s: until another process has its place and has loaded its model.

    lease_s: until its jobs are taken back. checkpoint_s: how much of a learning is lost at most.
    """

    days_between: float = 30.0
    restart_s: float = 180.0
    lease_s: float = 30.0
    checkpoint_s: float = 30.0


@dataclass(frozen=True)
class Costs:
    """What jobs and people cost the shared parts. Transactions and messages are estimates from reading the code.

    A worker: heartbeat and two reports every 5 s, a look for cancellations every second, a sweep of three every 5 s.
    """

    transactions_a_generation: float = 14.0  # asked for 6, chosen and claimed 3, read 2, published 2, read by a page 1
    transactions_a_learning: float = 30.0
    transactions_a_learning_second: float = 1.1  # progress each second, a checkpoint each 30 s and its blob's row
    transactions_a_view: float = 3.0
    views_a_generation: float = 6.0
    transactions_a_watched_second: float = 0.5  # whoever follows a job asks every two seconds
    transactions_a_worker_second: float = 2.2
    messages_a_generation: float = 2.0  # one for its own worker, one for all
    messages_a_learning: float = 1.0
    picture_bytes: float = 400_000.0
    taught_bytes: float = 5 * 400_000.0
    delta_bytes: float = 3_100_000.0


@dataclass(frozen=True)
class Capacity:
    """What one server of each shared part is taken to bear. Not measured here: replace it with your own."""

    transactions_per_s: float = 10_000.0
    messages_per_s: float = 20_000.0
    connections: float = 5_000.0  # to the database, through a pooler beyond a few hundred
    store_bytes: float = 1e15


def speed_of(points: Sequence[tuple[int, float]], learning_step_s: float, **more: Any) -> Speed:
    """The straight line nearest to measured steps: (pictures together, seconds of a step). ValueError for one point.

    A step cannot take less than nothing, so a negative end of the line counts as 0.
    """
    if len({pictures for pictures, _ in points}) < FEWEST_POINTS:
        raise ValueError("Steps of at least two batch sizes are needed.")
    across = sum(pictures for pictures, _ in points) / len(points)
    up = sum(seconds for _, seconds in points) / len(points)
    slope = sum((pictures - across) * (seconds - up) for pictures, seconds in points)
    slope = max(0.0, slope / sum((pictures - across) ** 2 for pictures, _ in points))
    most = max(pictures for pictures, _ in points)
    return Speed(max(0.0, up - slope * across), slope, learning_step_s, batch=most, **more)


def steps_of_mixed_tenants(results: Mapping[str, Any]) -> list[tuple[int, float]]:
    """(pictures together, seconds of a step) from the benchmark of mixed tenants, medians of its rounds.

    It makes `tenants` pictures, at most so many at a time.
    """
    plan, taken = results["plan"], results["figures"]["seconds"]
    found = []
    for limit in plan["limits"]:
        seconds = median(taken[f"many versions, at most {limit}"])
        found.append((limit, seconds * limit / (plan["tenants"] * plan["steps"])))
    return found


def step_of_learning(results: Mapping[str, Any]) -> float:
    """Seconds of one of our optimiser steps, the median of the rounds that benchmarks.learning_step kept."""
    return median(results["figures"]["seconds"]["ours"]) / float(results["plan"]["steps"])
