"""Which pictures go through the UNet together next. A pure choice over what waits."""

from collections.abc import Callable, Mapping, Sequence
from math import inf

from worker.orders import Row, Size


def choose_batch(
    waiting: Sequence[Row], most_rows: Callable[[Size], int], served: Mapping[object, int] | None = None
) -> list[Row]:
    """The pictures to move on by a step: of one size, at most `most_rows` rows of the UNet together, at least one.

    waiting: in the order of asking. most_rows: by size. served: owner -> the number of the last step that they had a
    picture in.

    Owners take turns: everybody's first picture comes before anybody's second, so that one who asked for sixteen does
    not make the others wait for all of them. Where not even the first ones fit a step, those that were begun go on, as
    they would be done no sooner by turns, and then comes whoever had no step for longest. Pictures of two sizes cannot
    share a step, so sizes take turns as well: next is the one whose first picture belongs to whoever had no step for
    longest.
    """
    served = served or {}
    in_turn = _put_in_turn(waiting, served)
    first: dict[Size, Row] = {}
    for row in in_turn:
        first.setdefault(row.size_px, row)
    if not first:
        return []
    size = min(first, key=lambda size: served.get(first[size].owner, 0))  # of equals, the one that was asked for first
    most = most_rows(size)
    chosen: list[Row] = []
    rows = 0
    for row in in_turn:
        if row.size_px == size and (not chosen or rows + row.width <= most):
            chosen.append(row)
            rows += row.width
    return chosen


def _put_in_turn(waiting: Sequence[Row], served: Mapping[object, int]) -> list[Row]:
    """Everybody's first picture, then everybody's second, and so on: of each, what was begun, then that of whoever had
    no step for longest, and of equals the one that was asked for first.

    Of one owner's pictures the one with the nearest deadline comes first, in the place of that owner's oldest: a
    deadline changes the order of its owner's pictures among themselves and takes nothing from anybody else.
    """
    places: dict[object, list[int]] = {}
    for place, row in enumerate(waiting):
        places.setdefault(row.owner, []).append(place)
    ranked: list[tuple[int, bool, int, int, Row]] = []
    for owner, own in places.items():
        urgent = sorted(own, key=lambda place: _deadline(waiting[place]))  # stable: of equals, the older one
        for turn, (place, chosen) in enumerate(zip(own, urgent, strict=True)):
            row = waiting[chosen]
            ranked.append((turn, row.run is None, served.get(owner, 0), place, row))
    ranked.sort(key=lambda entry: entry[:4])
    return [row for *_, row in ranked]


def _deadline(row: Row) -> float:
    return inf if row.order.deadline is None else row.order.deadline.timestamp()
