"""Which pictures go through the UNet together next. A pure choice over what waits."""

from collections import Counter
from collections.abc import Sequence

from worker.orders import Row


def choose_batch(waiting: Sequence[Row], most_rows: int) -> list[Row]:
    """The pictures to move on by a step: of one size, at most `most_rows` rows of the UNet together, at least one.

    waiting: in the order of asking. Owners take turns: everybody's first picture comes before anybody's second, so
    that one who asked for sixteen does not make the others wait for all of them. The size is that of the first.
    """
    turn: Counter[object] = Counter()
    ranked: list[tuple[int, int, Row]] = []
    for place, row in enumerate(waiting):
        ranked.append((turn[row.owner], place, row))
        turn[row.owner] += 1
    ranked.sort(key=lambda entry: entry[:2])
    chosen: list[Row] = []
    rows = 0
    for _, _, row in ranked:
        if chosen and (row.size_px != chosen[0].size_px or rows + row.width > most_rows):
            continue
        chosen.append(row)
        rows += row.width
    return chosen
