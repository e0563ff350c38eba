"""How many rows go together: as many as pay and as fit, by what was measured."""

import pytest

from worker.capacity import AGAIN, FIRST_ROWS, MOST_SIZES, TRIES, Capacity
from worker.orders import Size

SMALL, LARGE = (64, 64), (512, 512)


def feed(capacity: Capacity, per_row: dict[int, float], steps: int = 100, size: Size = SMALL) -> list[int]:
    """Full batches, each taking what `per_row` says of the power of two that it belongs to; the rows of each."""
    taken = []
    for _ in range(steps):
        rows = capacity.rows(size)
        taken.append(rows)
        capacity.note(size, rows, rows * per_row[min(known for known in per_row if known >= rows)])
    return taken


def test_the_batch_grows_while_rows_become_cheaper_or_stay() -> None:
    taken = feed(Capacity(64), {8: 1.0, 16: 0.7, 32: 0.5, 64: 0.52})
    assert taken == sorted(taken)
    assert (taken[0], taken[-1]) == (FIRST_ROWS, 64)


def test_it_goes_back_to_the_cheapest_when_rows_become_dearer() -> None:
    taken = feed(Capacity(64), {8: 1.0, 16: 0.7, 32: 1.0, 64: 1.0})
    assert taken.count(32) == TRIES
    assert taken[-1] == 16
    assert 64 not in taken


def test_where_batches_do_not_pay_it_is_as_small_as_what_was_seen_to_be_cheapest() -> None:
    capacity = Capacity(16)
    for _ in range(TRIES):
        capacity.note(SMALL, 2, 2 * 1.0)
        capacity.note(SMALL, 8, 8 * 1.5)
    assert capacity.rows(SMALL) == 2


def test_one_slow_step_is_no_judgement() -> None:
    """Whatever else the machine does can only add time, so the shortest of a few counts."""
    capacity = Capacity(16)
    for seconds in (1.0, 9.0, 1.0):
        capacity.note(SMALL, 8, 8 * seconds)
    assert capacity.rows(SMALL) == 16
    for seconds in (9.0, 9.0, 0.9):
        capacity.note(SMALL, 16, 16 * seconds)
    assert capacity.rows(SMALL) == 16


def test_what_was_found_dearer_is_tried_again_after_a_long_time() -> None:
    """The machine may have been busy with something else."""
    capacity = Capacity(16)
    feed(capacity, {8: 1.0, 16: 2.0}, steps=2 * TRIES)
    assert capacity.rows(SMALL) == 8
    taken = feed(capacity, {8: 1.0, 16: 0.5}, steps=AGAIN + 10)
    assert (taken[AGAIN], taken[AGAIN + 1], taken[-1]) == (8, 16, 16)


def test_it_is_never_more_than_allowed() -> None:
    for most in (1, 3, 12):
        assert max(feed(Capacity(most), {8: 1.0, 16: 0.1})) == most


def test_sizes_know_nothing_of_each_other() -> None:
    capacity = Capacity(64)
    feed(capacity, {8: 1.0, 16: 0.7, 32: 0.5, 64: 0.4})
    assert capacity.rows(LARGE) == FIRST_ROWS
    assert capacity.row_seconds(LARGE) == {}
    assert capacity.row_seconds(SMALL) == {8: 1.0, 16: pytest.approx(0.7), 32: 0.5, 64: pytest.approx(0.4)}


def test_of_more_sizes_than_can_be_remembered_the_latest_are() -> None:
    capacity = Capacity(64)
    for side in (*range(MOST_SIZES), 0, MOST_SIZES):
        capacity.note((side, side), 2, 1.0)
    assert capacity.sizes == [(side, side) for side in (*range(2, MOST_SIZES), 0, MOST_SIZES)]


def test_where_memory_is_counted_one_picture_says_what_each_row_takes() -> None:
    capacity = Capacity(64)
    assert capacity.rows(LARGE, free_bytes=10_000) == 2
    capacity.note(LARGE, 2, 1.0, peak_bytes=2_000)
    assert capacity.rows(LARGE, free_bytes=10_000) == FIRST_ROWS
    for _ in range(TRIES):
        capacity.note(LARGE, 8, 1.0, peak_bytes=8_000)
    assert capacity.rows(LARGE, free_bytes=10_000) == 9  # of the ten that would fit if memory were in one piece
    assert capacity.rows(LARGE, free_bytes=3_000) == 2  # something else has it now
    assert capacity.rows(LARGE, free_bytes=0) == 1


def test_memory_that_every_step_takes_is_not_counted_for_each_row() -> None:
    capacity = Capacity(64)
    capacity.note(LARGE, 2, 1.0, peak_bytes=4_000)  # 3000 whatever the rows, and 500 for each
    assert capacity.rows(LARGE, free_bytes=10_000) == 4
    capacity.note(LARGE, 4, 1.0, peak_bytes=5_000)
    capacity.note(LARGE, 2, 1.0, peak_bytes=4_000)
    assert capacity.rows(LARGE, free_bytes=10_000) == 7


def test_what_did_not_fit_is_halved_for_the_time_being() -> None:
    capacity = Capacity(16)
    capacity.fail(SMALL, 8)
    assert capacity.rows(SMALL) == 4
    capacity.fail(SMALL, 1)
    assert capacity.rows(SMALL) == 1
    for _ in range(AGAIN + 1):
        capacity.note(SMALL, 1, 1.0)
    assert capacity.rows(SMALL) == FIRST_ROWS  # whatever had the memory then may have given it back
