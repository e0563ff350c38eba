"""How many devices are enough, and what so many people do to the parts that everybody shares."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.fleet.assumed import DAY_S, Capacity, Costs, Demand, Failures, Speed
from benchmarks.fleet.simulate import Outcome, simulate

CONNECTIONS_A_WORKER = 30  # pool and overflow of app/db.py, at most
MOST_TRIES = 20


@dataclass(frozen=True)
class Goals:
    """What is enough: p95 of the wait for pictures, and for a learning to begin, in the busiest hour."""

    wait_s: float = 2.0
    learning_wait_s: float = 60.0

    def are_met(self, outcome: Outcome) -> bool:
        return outcome.wait_p95_s <= self.wait_s and outcome.learning_wait_p95_s <= self.learning_wait_s


@dataclass(frozen=True)
class World:
    """All that the figures depend on. cell: people that are simulated at most.

    More are taken as so many fleets of that size side by side. One queue for all does no worse than that: it could
    always keep to such a division.
    """

    demand: Demand
    speed: Speed
    failures: Failures = field(default_factory=Failures)
    costs: Costs = field(default_factory=Costs)
    capacity: Capacity = field(default_factory=Capacity)
    goals: Goals = field(default_factory=Goals)
    cell: int = 10_000
    jobs: int = 3_000
    seed: int = 1

    def hours(self, users: int) -> float:
        """An hour; longer where so few people would not ask for enough `jobs` in it to tell a p95."""
        return max(1.0, self.jobs / (self.demand.generations_per_s(users) * 3600))


def devices_needed(world: World, users: int) -> tuple[int, Outcome]:
    """The smallest fleet that meets the goals, and how it does. RuntimeError when none is found that does.

    Searched upwards in growing steps, then by halving: waits shrink with every device, but for the luck of a seed.
    """
    most = max(1, math.ceil(world.speed.busy_per_s(world.demand, users)))
    tried: dict[int, Outcome] = {}

    def enough(devices: int) -> bool:
        tried[devices] = simulate(
            users, devices, world.demand, world.speed, world.failures, hours=world.hours(users), seed=world.seed
        )
        return world.goals.are_met(tried[devices])

    too_few = 0
    for _ in range(MOST_TRIES):
        if enough(most):
            break
        too_few, most = most, most + max(1, most // 5)
    else:
        raise RuntimeError(f"No fleet of up to {most} devices serves {users} people well enough.")
    while most - too_few > 1:
        middle = (too_few + most) // 2
        if enough(middle):
            most = middle
        else:
            too_few = middle
    return most, tried[most]


def size(world: World, users: int) -> dict[str, Any]:
    """Everything about so many users in their busiest hour, as it is kept."""
    simulated = min(users, world.cell)
    devices, outcome = devices_needed(world, simulated)
    fleet = math.ceil(devices * users / simulated)
    loads = loads_of(world, users, fleet, outcome)
    used = use_of(loads, world.capacity)
    return {
        "users": users,
        "simulated_users": simulated,
        "devices": fleet,
        "users_a_device": users / fleet,
        **asdict(outcome),
        "loads": loads,
        "used": used,
        "first": max(used, key=lambda name: used[name]),
    }


def strain(world: World, users: int, devices: int, times: Sequence[float]) -> list[dict[str, Any]]:
    """How a fleet does when so many times as many people come as it was made for."""
    found = []
    for factor in times:
        more = round(users * factor)
        outcome = simulate(
            more, devices, world.demand, world.speed, world.failures, hours=world.hours(users), seed=world.seed
        )
        found.append({"times": factor, "users": more, "devices": devices, **asdict(outcome)})
    return found


def loads_of(world: World, users: int, devices: int, outcome: Outcome) -> dict[str, float]:
    """What the shared parts are asked for: rates in the busiest hour; bytes a day and a year as days are on average."""
    demand, costs = world.demand, world.costs
    made, learned = demand.generations_per_s(users), demand.learnings_per_s(users)
    # Little's law, with the times of the slow ones: rather too many than too few.
    under_way = made * outcome.answer_p95_s + learned * outcome.learning_p95_s
    transactions = (
        made * (costs.transactions_a_generation + costs.views_a_generation * costs.transactions_a_view)
        + learned * (costs.transactions_a_learning + outcome.learning_p95_s * costs.transactions_a_learning_second)
        + under_way * costs.transactions_a_watched_second
        + devices * costs.transactions_a_worker_second
    )
    a_day = users * (
        demand.generations_a_day * demand.pictures * costs.picture_bytes
        + demand.learnings_a_day * (costs.taught_bytes + costs.delta_bytes)
    )
    return {
        "transactions_per_s": transactions,
        "messages_per_s": made * costs.messages_a_generation + learned * costs.messages_a_learning,
        "connections": float(devices * CONNECTIONS_A_WORKER),
        "store_bytes_a_day": a_day,
        "store_bytes_a_year": a_day * 365,
        "store_bytes_per_s": a_day * demand.peak / DAY_S,
    }


def use_of(loads: dict[str, float], capacity: Capacity) -> dict[str, float]:
    """Each shared part's load as a share of what one server of it is taken to bear; the store's after a year."""
    return {
        "database transactions": loads["transactions_per_s"] / capacity.transactions_per_s,
        "database connections": loads["connections"] / capacity.connections,
        "broker messages": loads["messages_per_s"] / capacity.messages_per_s,
        "bytes in the store after a year": loads["store_bytes_a_year"] / capacity.store_bytes,
    }


def first_to_break(sizes: list[dict[str, Any]]) -> tuple[str, int] | None:
    """The part that first has more to do than one server bears, and for how many users; None within these sizes."""
    for one in sorted(sizes, key=lambda size: int(size["users"])):
        part = max(one["used"], key=lambda name: float(one["used"][name]))
        if one["used"][part] > 1:
            return part, int(one["users"])
    return None
