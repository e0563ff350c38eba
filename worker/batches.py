"""Which pictures go through the UNet together next. A pure choice over what waits."""

from collections import Counter
from collections.abc import Mapping, Sequence

from worker.orders import Row, Size


def choose_batch(
    waiting: Sequence[Row],
    most_rows: int,
    room: Mapping[Size, int] | None = None,
    served: Mapping[object, int] | None = None,
) -> list[Row]:
    """The pictures to move on by a step: of one size, at most `most_rows` rows of the UNet together, at least one.

    waiting: in the order of asking. room: sizes of which fewer rows are to go together. served: owner -> the number of
    the last step that they had a picture in.

    Owners take turns: everybody's first picture comes before anybody's second, so that one who asked for sixteen does
    not make the others wait for all of them. Pictures of two sizes cannot share a step, so sizes take turns as well:
    next is the one whose first picture belongs to whoever had no step for longest.
    """
    room, served = room or {}, served or {}
    turn: Counter[object] = Counter()
    ranked: list[tuple[int, int, Row]] = []
    for place, row in enumerate(waiting):
        ranked.append((turn[row.owner], place, row))
        turn[row.owner] += 1
    ranked.sort(key=lambda entry: entry[:2])
    first: dict[Size, Row] = {}
    for _, _, row in ranked:
        first.setdefault(row.size_px, row)
    if not first:
        return []
    size = min(first, key=lambda size: served.get(first[size].owner, 0))  # of equals, the one that was asked for first
    most = min(most_rows, room.get(size, most_rows))
    chosen: list[Row] = []
    rows = 0
    for _, _, row in ranked:
        if row.size_px == size and (not chosen or rows + row.width <= most):
            chosen.append(row)
            rows += row.width
    return chosen
