"""How many rows of one picture size go through the UNet together, by what was measured of their time and memory.

Pure: it is told measurements and answers with a number. What is counted in rows falls into powers of two, as no two
steps need have the same number of rows: the step of 5 rows is one of up to 8.
"""

from collections import deque
from dataclasses import dataclass, field

from worker.orders import Size

FIRST_ROWS = 8  # tried before anything is known of a size, where memory is not what ends it: four guided pictures
ALONE_ROWS = 2  # the same where memory is counted: one guided picture says what each takes
TRIES = 3  # steps before a number of rows is judged
KEPT = 5  # measurements, of which the shortest counts: whatever else the machine does can only add time
STAYS = 0.1  # so much more time per row is none: measurements differ by as much
AGAIN = 500  # steps after which what was found wanting is tried again: the machine may have been busy
USED_OF_FREE = 0.9  # of the free memory, as pieces of it lie apart
MOST_SIZES = 16  # that are remembered, as people may ask for thousands


@dataclass
class _Measured:
    """Of one size. seconds: power of two -> seconds of a row, lately; noted: the step when that was last.

    row_bytes: of the largest batch so far, `byte_rows`, as part of what a step takes does not grow with its rows.
    """

    seconds: dict[int, deque[float]] = field(default_factory=dict)
    noted: dict[int, int] = field(default_factory=dict)
    row_bytes: float | None = None
    byte_rows: int = 0
    steps: int = 0
    too_many: tuple[int, int] | None = None  # rows that the memory did not hold, and when


class Capacity:
    """Grows the batch of a size while time per row falls or stays, never beyond the memory nor `most_rows`."""

    def __init__(self, most_rows: int):
        self.most_rows = most_rows
        self._sizes: dict[Size, _Measured] = {}

    def note(self, size: Size, rows: int, seconds: float, peak_bytes: int | None = None) -> None:
        """One UNet call of `rows` rows took `seconds`, and `peak_bytes` of memory beyond what was taken before it."""
        measured = self._latest(size)
        measured.steps += 1
        step = _power_of_two(rows)
        if measured.steps - measured.noted.get(step, 0) > AGAIN:
            measured.seconds.pop(step, None)  # of another time
        measured.seconds.setdefault(step, deque(maxlen=KEPT)).append(seconds / rows)
        measured.noted[step] = measured.steps
        if peak_bytes is not None and rows >= measured.byte_rows:
            before = measured.row_bytes if rows == measured.byte_rows else None
            measured.row_bytes, measured.byte_rows = max(before or 0.0, peak_bytes / rows), rows

    def fail(self, size: Size, rows: int) -> None:
        """The memory did not hold so many rows: half of them at most, for the time being."""
        measured = self._latest(size)
        measured.too_many = rows, measured.steps

    def rows(self, size: Size, free_bytes: int | None = None) -> int:
        """Rows of that size to go together, at most, but at least 1. free_bytes: None where memory is not counted."""
        measured = self._sizes.get(size, _Measured())
        return max(1, min(self._paying(measured), self._fitting(measured, free_bytes)))

    def row_seconds(self, size: Size) -> dict[int, float]:
        """Rows of a step, as the next power of two -> seconds of one of them."""
        found = self._sizes.get(size, _Measured())
        return {rows: min(seconds) for rows, seconds in sorted(found.seconds.items())}

    @property
    def sizes(self) -> list[Size]:
        """Those that something was measured of."""
        return list(self._sizes)

    def _latest(self, size: Size) -> _Measured:
        """What is known of a size, to be added to; that of which nothing was heard for longest is forgotten."""
        self._sizes[size] = measured = self._sizes.pop(size, None) or _Measured()
        while len(self._sizes) > MOST_SIZES:
            del self._sizes[next(iter(self._sizes))]
        return measured

    def _paying(self, measured: _Measured) -> int:
        """The first number of rows that nothing speaks against: not judged yet, or no dearer a row than any smaller."""
        judged = {
            rows: min(seconds)
            for rows, seconds in measured.seconds.items()
            if len(seconds) >= TRIES and measured.steps - measured.noted[rows] <= AGAIN
        }
        rows = min(FIRST_ROWS, _power_of_two(self.most_rows))
        while rows in judged:
            cheapest = min((known for known in judged if known <= rows), key=judged.__getitem__)
            if judged[rows] > judged[cheapest] * (1 + STAYS):
                return cheapest
            if rows >= self.most_rows:
                break
            rows *= 2
        return rows

    def _fitting(self, measured: _Measured, free_bytes: int | None) -> int:
        most = self.most_rows
        if measured.too_many is not None and measured.steps - measured.too_many[1] <= AGAIN:
            most = min(most, measured.too_many[0] // 2)
        if free_bytes is None:
            return most
        if measured.row_bytes is None:
            return min(most, ALONE_ROWS)
        return min(most, int(USED_OF_FREE * free_bytes / max(measured.row_bytes, 1.0)))


def _power_of_two(rows: int) -> int:
    """The next one, from `rows` on."""
    return 1 << (rows - 1).bit_length()
