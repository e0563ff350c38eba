"""Pure choices: whose turn it is, who shares a batch, what is kept in mind."""

from uuid import uuid4

import pytest

from cns.denoise import GenerationRequest
from worker.batches import choose_batch
from worker.orders import Order, Row
from worker.recent import Recent
from worker.samples import marks
from worker.shares import Lane, Shares


def order(count: int, *, owner: object = None, guidance: float = 4.0, side: int = 16) -> Order:
    request = GenerationRequest("a dog", guidance=guidance, width_px=side, height_px=side)
    return Order(lambda: None, [request] * count, owner or uuid4())  # type: ignore[arg-type, return-value]


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
    assert choose_batch(rows(one, other), 16) == rows(one, other)


def test_owners_take_turns() -> None:
    ada, ben = order(8), order(2)
    chosen = choose_batch(rows(ada, ben), 8)
    assert [row.order for row in chosen] == [ada, ben, ada, ben]
    assert [row.place for row in chosen] == [0, 0, 1, 1]


def test_two_orders_of_one_owner_count_as_hers() -> None:
    name = uuid4()
    first, second, other = order(1, owner=name), order(1, owner=name), order(1)
    assert choose_batch(rows(first, second, other), 4) == rows(first, other)


def test_one_size_at_a_time_the_oldest_first() -> None:
    small, large, small_too = order(1), order(1, side=32), order(1)
    assert choose_batch(rows(small, large, small_too), 16) == rows(small, small_too)


def test_sizes_take_turns_between_owners() -> None:
    """Ada has more of the small ones than ever end; Ben's large one has every other step."""
    ada, ben = [order(1, owner="ada") for _ in range(40)], order(1, owner="ben", side=32)
    served: dict[object, int] = {}
    sizes = []
    for step in range(1, 7):
        chosen = choose_batch(rows(*ada, ben), 16, served=served)
        served |= {row.owner: step for row in chosen}
        sizes.append(chosen[0].size_px[0])
    assert sizes == [16, 32, 16, 32, 16, 32]


def test_owners_of_one_size_stay_together_whoever_was_served() -> None:
    ada, ben = order(1, owner="ada"), order(1, owner="ben")
    assert choose_batch(rows(ada, ben), 16, served={"ada": 7}) == rows(ada, ben)


def test_a_size_that_needs_more_room_goes_in_smaller_batches() -> None:
    small, large = order(4), order(4, side=32)
    room: dict[tuple[int | None, int | None], int] = {(32, 32): 2}
    assert len(choose_batch(rows(small), 16, room)) == 4
    assert len(choose_batch(rows(large), 16, room)) == 1


def test_a_picture_larger_than_the_batch_goes_alone() -> None:
    assert len(choose_batch(rows(order(3)), 1)) == 1
    assert choose_batch([], 16) == []


def test_a_narrow_row_fills_what_a_wide_one_leaves() -> None:
    guided, too_wide, plain = order(1), order(1), order(1, guidance=1.0)
    assert choose_batch(rows(guided, too_wide, plain), 3) == rows(guided, plain)


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
