"""The fleet's simulation: what must be so whatever the numbers are, and what can be worked out by hand."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.fleet.__main__ import read_points
from benchmarks.fleet.assumed import (
    Capacity,
    Demand,
    Failures,
    Speed,
    speed_of,
    step_of_learning,
    steps_of_mixed_tenants,
)
from benchmarks.fleet.device import Device, Job
from benchmarks.fleet.page import write_page
from benchmarks.fleet.simulate import at_share, simulate
from benchmarks.fleet.sizing import World, devices_needed, first_to_break, loads_of, size, strain, use_of

SPEED = Speed(fixed_s=0.01, picture_s=0.01, learning_step_s=0.1, cold_s=0.0)
NEVER = Failures(days_between=1e9)
QUIET = Demand(learnings_a_day=0.0)
WORLD = World(Demand(), SPEED, cell=300, jobs=300)


def job(number: int, left: float, is_learning: bool = False) -> Job:
    return Job(number, number, is_learning, asked_at=0.0, whole=left, left=left)


def test_pictures_that_share_a_device_advance_together_and_faster_than_one_after_another() -> None:
    device = Device(0, SPEED, pictures_a_job=4)
    device.generations = [job(1, 10), job(2, 20)]
    assert device.next_end() == pytest.approx(10 * (0.01 + 8 * 0.01))
    device.advance(device.next_end() or 0)
    assert [one.number for one in device.take_done()] == [1]
    assert device.next_end() == pytest.approx(0.9 + 10 * (0.01 + 4 * 0.01))
    assert device.busy_s == pytest.approx(0.9)


def test_learning_takes_its_share_and_all_of_an_idle_device() -> None:
    device = Device(0, SPEED, pictures_a_job=4)
    device.generations, device.learnings = [job(1, 10)], [job(2, 5.0, True), job(3, 9.0, True)]
    assert device.next_end() == pytest.approx(10 * 0.05 / (1 - SPEED.share))
    device.advance(1.0)
    assert device.take_done()[0].number == 1
    assert [one.left for one in device.learnings] == pytest.approx([5.0 - 0.25, 9.0 - 0.25])
    assert device.next_end() == pytest.approx(1.0 + 4.75 * 2)


def test_a_batch_takes_no_more_pictures_than_fit_and_always_one_request() -> None:
    device = Device(0, replace(SPEED, batch=8), pictures_a_job=4)
    assert device.has_room(False)
    device.generations = [job(1, 10), job(2, 10)]
    assert not device.has_room(False)
    assert device.has_room(True)
    assert Device(0, replace(SPEED, batch=2), pictures_a_job=4).has_room(False)


def test_the_same_seed_gives_the_same_figures_and_another_gives_others() -> None:
    first, again, other = (simulate(200, 2, Demand(), SPEED, Failures(), hours=1, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_an_empty_fleet_answers_in_the_time_of_the_steps_themselves() -> None:
    outcome = simulate(20, 8, QUIET, SPEED, NEVER, hours=10, seed=1)
    assert outcome.generations > 100
    assert outcome.wait_p95_s == 0
    assert outcome.answer_p95_s == pytest.approx(25 * 0.05)
    assert outcome.busy < 0.02


def test_too_few_devices_let_people_wait_and_more_let_them_wait_less() -> None:
    waits = [simulate(2000, devices, QUIET, SPEED, NEVER, hours=0.5, seed=1).wait_p95_s for devices in (1, 2, 4)]
    assert waits[0] > 60 > waits[1] >= waits[2] == 0


def test_what_still_waits_at_the_end_counts() -> None:
    drowned = simulate(20_000, 1, QUIET, SPEED, NEVER, hours=0.1, seed=1)
    assert drowned.in_queue > drowned.generations
    assert drowned.wait_p50_s > 60


def test_devices_that_fail_give_their_jobs_back_and_none_is_lost() -> None:
    """Every tenth of an hour one of them goes, with what it has in hand."""
    failing = Failures(days_between=0.1 / 24, restart_s=60.0)
    calm, rough = (simulate(400, 3, Demand(), SPEED, failures, hours=3, seed=1) for failures in (NEVER, failing))
    assert calm.taken_back == 0
    assert rough.taken_back > 0
    assert rough.generations + rough.in_queue >= 0.97 * calm.generations
    assert rough.answer_p95_s > calm.answer_p95_s


def test_people_come_back_to_the_device_that_knows_them() -> None:
    assert simulate(50, 4, QUIET, SPEED, NEVER, hours=20, seed=1).warm > 0.9


def test_the_fleet_found_is_enough_and_one_device_fewer_is_not() -> None:
    people = 1500
    devices, outcome = devices_needed(WORLD, people)
    assert devices > 1
    assert WORLD.goals.are_met(outcome)
    hours = WORLD.hours(people)
    fewer = simulate(people, devices - 1, WORLD.demand, SPEED, WORLD.failures, hours=hours, seed=1)
    assert not WORLD.goals.are_met(fewer)


def test_a_fleet_that_never_suffices_is_said_to_be_none() -> None:
    slow = replace(SPEED, learnings=0)  # no learning ever begins
    with pytest.raises(RuntimeError, match="serves 300 people well enough"):
        devices_needed(replace(WORLD, speed=slow), 300)


def test_more_people_than_are_simulated_take_as_many_devices_for_each() -> None:
    small, large = size(WORLD, 300), size(WORLD, 3_000)
    assert large["devices"] == 10 * small["devices"]
    assert large["simulated_users"] == 300
    assert large["loads"]["messages_per_s"] == pytest.approx(10 * small["loads"]["messages_per_s"])


def test_a_fleet_that_is_strained_makes_people_wait_longer() -> None:
    devices = devices_needed(WORLD, 300)[0]
    well, badly = strain(WORLD, 300, devices, (1.0, 20.0))
    assert (well["users"], badly["users"]) == (300, 6000)
    assert well["wait_p95_s"] <= WORLD.goals.wait_s < badly["wait_p95_s"]


def test_the_shared_parts_loads_are_what_the_rates_make_them() -> None:
    world = replace(WORLD, demand=QUIET)
    outcome = simulate(300, 2, QUIET, SPEED, NEVER, hours=1, seed=1)
    loads = loads_of(world, 86_400, devices=10, outcome=outcome)
    rate = 20 * 4.0  # of generations, each second
    assert loads["messages_per_s"] == pytest.approx(2 * rate)
    watched = rate * outcome.answer_p95_s * 0.5
    assert loads["transactions_per_s"] == pytest.approx(rate * (14 + 6 * 3) + watched + 10 * 2.2)
    assert loads["store_bytes_a_day"] == pytest.approx(86_400 * 20 * 4 * 400_000)
    half = Capacity(transactions_per_s=2 * loads["transactions_per_s"])
    assert use_of(loads, half)["database transactions"] == pytest.approx(0.5)


def test_the_first_part_to_break_is_the_one_that_is_overloaded_with_the_fewest_people() -> None:
    sizes = [
        {"users": 1000, "used": {"database": 3.0, "store": 2.0}},
        {"users": 10, "used": {"database": 0.1, "store": 0.9}},
        {"users": 100, "used": {"database": 0.5, "store": 1.2}},
    ]
    assert first_to_break(sizes) == ("store", 100)
    assert first_to_break(sizes[1:2]) is None


def test_a_line_is_laid_through_measured_steps() -> None:
    speed = speed_of([(1, 0.03), (4, 0.06), (16, 0.18)], 0.1)
    assert (speed.fixed_s, speed.picture_s, speed.batch) == (pytest.approx(0.02), pytest.approx(0.01), 16)
    with pytest.raises(ValueError, match="at least two batch sizes"):
        speed_of([(4, 0.06), (4, 0.07)], 0.1)
    assert read_points("1:17.7,16:172.8") == [(1, pytest.approx(0.0177)), (16, pytest.approx(0.1728))]


def test_steps_are_read_from_the_benchmark_of_mixed_tenants() -> None:
    """16 pictures of 25 steps: one at a time that is 400 steps, four at a time 100."""
    kept = {
        "plan": {"limits": [1, 4], "tenants": 16, "steps": 25},
        "figures": {"seconds": {"many versions, at most 1": [9.0, 8.0, 7.0], "many versions, at most 4": [5.0]}},
    }
    assert steps_of_mixed_tenants(kept) == [(1, pytest.approx(0.02)), (4, pytest.approx(0.05))]


def test_a_share_is_a_value_that_is_there() -> None:
    assert at_share([], 0.95) == 0
    assert at_share([3.0, 1.0, 2.0], 0.5) == 2.0
    assert at_share([float(number) for number in range(1, 101)], 0.95) == 95.0


def test_the_page_says_what_was_given_and_what_breaks(tmp_path: Path) -> None:
    sizes = [size(WORLD, users) for users in (100, 1_000_000)]
    results = {
        "command": "python -m benchmarks.fleet",
        "source": "given",
        "is_measured": False,
        "world": asdict(WORLD),
        "sizes": json.loads(json.dumps(sizes)),
        "strain": strain(WORLD, 300, sizes[0]["devices"], (1.0, 2.0)),
    }
    write_page(results, tmp_path / "fleet.md")
    page = (tmp_path / "fleet.md").read_text(encoding="utf-8")
    assert "given, not measured" in page
    assert "1,000,000" in page
    assert f"**{first_to_break(sizes)[0]}**" in page  # type: ignore[index]
    assert all((tmp_path / "fleet" / name).read_text().startswith("<svg") for name in ("devices.svg", "use.svg"))


def test_the_step_of_a_learning_is_the_median_of_ours() -> None:
    seconds = {"ours": [0.6, 9.0, 0.9], "dreambooth": [1.0, 1.0, 1.0]}
    assert step_of_learning({"figures": {"seconds": seconds}, "plan": {"steps": 3}}) == pytest.approx(0.3)
