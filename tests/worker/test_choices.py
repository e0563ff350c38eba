"""Pure choices: whose turn it is, who shares a batch, what is kept in mind."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest

from cns.denoise import GenerationRequest
from worker.batches import choose_batch
from worker.orders import Order, Row
from worker.recent import Recent
from worker.samples import marks
from worker.shares import Lane, Shares

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def order(
    count: int, *, owner: object = None, guidance: float = 4.0, side: int = 16, within_s: float | None = None
) -> Order:
    """within_s: the seconds from now of its deadline."""
    request = GenerationRequest("a dog", guidance=guidance, width_px=side, height_px=side)
    deadline = None if within_s is None else NOW + timedelta(seconds=within_s)
    return Order(lambda: None, [request] * count, owner or uuid4(), deadline)  # type: ignore[arg-type, return-value]


def at_most(rows: int) -> Callable[[object], int]:
    """Room for so many rows, whatever their size."""
    return lambda _: rows


def rows(*orders: Order) -> list[Row]:
    return [row for one in orders for row in one.rows]


def test_both_get_their_share_in_the_long_run() -> None:
    shares = Shares(learning=0.25)
    for _ in range(1000):
        lane = shares.choose(list(Lane))
        shares.charge(lane, 0.3 if lane is Lane.LEARNING else 0.1)
    used = shares.used_s
    assert used[Lane.LEARNING] / sum(used.values()) == pytest.approx(0.25, abs=0.01)


def test_who_had_nothing_to_do_has_saved_nothing_up() -> None:
    shares = Shares(learning=0.5)
    for _ in range(100):
        assert shares.choose([Lane.LEARNING]) is Lane.LEARNING
        shares.charge(Lane.LEARNING, 1.0)
    turns = []
    for _ in range(10):
        turns.append(shares.choose(list(Lane)))
        shares.charge(turns[-1], 1.0)
    assert turns.count(Lane.GENERATING) == 5
    assert turns[0] is Lane.GENERATING  # somebody is looking on


def test_a_share_of_nothing_or_everything_is_refused() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            Shares(share)


def test_pictures_of_several_owners_share_a_batch() -> None:
    one, other = order(1), order(1, guidance=1.0)
    assert choose_batch(rows(one, other), at_most(16)) == rows(one, other)


def test_owners_take_turns() -> None:
    ada, ben = order(8), order(2)
    chosen = choose_batch(rows(ada, ben), at_most(8))
    assert [row.order for row in chosen] == [ada, ben, ada, ben]
    assert [row.place for row in chosen] == [0, 0, 1, 1]


def test_two_orders_of_one_owner_count_as_hers() -> None:
    name = uuid4()
    first, second, other = order(1, owner=name), order(1, owner=name), order(1)
    assert choose_batch(rows(first, second, other), at_most(4)) == rows(first, other)


def test_one_size_at_a_time_the_oldest_first() -> None:
    small, large, small_too = order(1), order(1, side=32), order(1)
    assert choose_batch(rows(small, large, small_too), at_most(16)) == rows(small, small_too)


def test_sizes_take_turns_between_owners() -> None:
    """Ada has more of the small ones than ever end; Ben's large one has every other step."""
    ada, ben = [order(1, owner="ada") for _ in range(40)], order(1, owner="ben", side=32)
    served: dict[object, int] = {}
    sizes = []
    for step in range(1, 7):
        chosen = choose_batch(rows(*ada, ben), at_most(16), served=served)
        served |= {row.owner: step for row in chosen}
        sizes.append(chosen[0].size_px[0])
    assert sizes == [16, 32, 16, 32, 16, 32]


def test_owners_of_one_size_stay_together_whoever_was_served() -> None:
    ada, ben = order(1, owner="ada"), order(1, owner="ben")
    assert choose_batch(rows(ada, ben), at_most(16), served={"ada": 7}) == rows(ben, ada)


def test_where_one_picture_fills_a_step_nobody_waits_for_more_than_one_of_anothers() -> None:
    """What was begun is done first: by turns ada's would be done later, and ben's no sooner."""
    ada, ben = order(16, owner="ada"), order(1, owner="ben")
    served: dict[object, int] = {}
    turns = []
    for step in range(1, 10):
        (row,) = choose_batch(rows(ada, ben), at_most(2), served=served)
        row.run = row.run or SimpleNamespace(rows=2, steps_done=0)  # type: ignore[assignment]
        row.run.steps_done += 1  # type: ignore[union-attr]
        if row.run.steps_done == 3:  # type: ignore[union-attr]
            row.order.rows.remove(row)
        served |= {row.owner: step}
        turns.append(row.owner)
    assert turns == ["ada"] * 3 + ["ben"] * 3 + ["ada"] * 3


def test_a_size_that_needs_more_room_goes_in_smaller_batches() -> None:
    small, large = order(4), order(4, side=32)
    room = {(16, 16): 16, (32, 32): 2}
    assert len(choose_batch(rows(small), room.__getitem__)) == 4  # type: ignore[arg-type]
    assert len(choose_batch(rows(large), room.__getitem__)) == 1  # type: ignore[arg-type]


def test_of_one_owners_pictures_the_nearest_deadline_goes_first_then_those_without() -> None:
    name = uuid4()
    plain, late, soon = (order(1, owner=name, within_s=within) for within in (None, 60, 10))
    assert choose_batch(rows(plain, late, soon), at_most(16)) == rows(soon, late, plain)
    assert choose_batch(rows(plain, late, soon), at_most(2)) == rows(soon)


def test_a_deadline_takes_no_turn_from_anybody_else() -> None:
    """Whatever ada says of her pictures, ben's and cleo's are chosen as they were."""
    chosen = []
    for within_s in (None, 1):
        ada, more = order(2, owner="ada"), order(2, owner="ada", within_s=within_s)
        ben, cleo = order(2, owner="ben"), order(1, owner="cleo")
        picked = choose_batch(rows(ada, ben, cleo, more), at_most(10))
        chosen.append([(row.owner, row.place) for row in picked if row.owner != "ada"])
        assert [row.owner for row in picked].count("ada") == 2
        assert picked[0].order is (ada if within_s is None else more)
    assert chosen[0] == chosen[1] == [("ben", 0), ("cleo", 0), ("ben", 1)]


def test_a_picture_that_was_begun_waits_while_its_owners_nearer_deadline_is_made() -> None:
    """One row of the batch, two pictures of one owner: the size of the urgent one is whose turn it is, too."""
    begun, urgent = order(1, owner="ada"), order(1, owner="ada", side=32, within_s=5)
    assert choose_batch(rows(begun, urgent), at_most(2), served={"ada": 3}) == rows(urgent)


def test_a_picture_larger_than_the_batch_goes_alone() -> None:
    assert len(choose_batch(rows(order(3)), at_most(1))) == 1
    assert choose_batch([], at_most(16)) == []


def test_a_narrow_row_fills_what_a_wide_one_leaves() -> None:
    guided, too_wide, plain = order(1), order(1), order(1, guidance=1.0)
    assert choose_batch(rows(guided, too_wide, plain), at_most(3)) == rows(guided, plain)


def test_what_was_not_used_for_longest_is_forgotten_first() -> None:
    recent: Recent[str, bytes] = Recent(10, len)
    recent["a"], recent["b"] = b"aaaa", b"bbbb"
    assert recent["a"] == b"aaaa"
    recent["c"] = b"cccc"
    assert list(recent) == ["a", "c"]
    recent["c"] = b"c"
    recent["d"] = b"ddddd"
    assert list(recent) == ["a", "c", "d"]


def test_what_is_larger_than_all_is_kept_until_the_next() -> None:
    recent: Recent[str, bytes] = Recent(3, len)
    recent["a"] = b"aaaaaa"
    assert "a" in recent
    recent["b"] = b"b"
    assert list(recent) == ["b"]


def test_samples_are_made_at_quarters() -> None:
    assert marks(200) == [0, 50, 100, 150, 200]
    assert marks(3) == [0, 1, 2, 3]
    assert marks(1) == [0, 1]
