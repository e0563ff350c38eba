"""A tree of versions drawn as a git graph: a lane for each branch, a row for each version, the newest on top.

Pure geometry. The line that head is on keeps the first lane, so that the eye follows it straight down to the base.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LANE_PX = 26
MOST_PX = 120  # of all lanes together: about a third of a telephone, so that words find room beside them
ROW_PX = 84
BASE = 0


@dataclass(frozen=True)
class Stroke:
    """One piece of a line within a row. path: as SVG writes it. on_line: between the base and head."""

    path: str
    on_line: bool


@dataclass(frozen=True)
class Row:
    """number: of the version, 0 for the bare base. x: of its dot."""

    number: int
    lane: int
    x: float
    strokes: Sequence[Stroke]
    on_line: bool


@dataclass(frozen=True)
class Graph:
    rows: Sequence[Row]
    lanes: int

    @property
    def width_px(self) -> float:
        return _x(self.lanes - 1, self.lanes) + LANE_PX / 2


def draw_graph(parents: Mapping[int, int], head: int) -> Graph:
    """parents: number of each version -> number of its parent; 0 is the bare base and has none."""
    numbers = [*sorted(parents, reverse=True), BASE]
    row_of = {number: row for row, number in enumerate(numbers)}
    lane_of = _lanes(parents, head, row_of)
    lanes = max(lane_of.values()) + 1
    line = set(_up(parents, head))
    strokes: dict[int, list[Stroke]] = {number: [] for number in numbers}
    for child in sorted(parents, reverse=True):
        parent = parents[child]
        lane, parent_lane = lane_of[child], lane_of[parent]
        x, parent_x, middle = _x(lane, lanes), _x(parent_lane, lanes), ROW_PX / 2
        on_line = child in line
        strokes[child].append(Stroke(f"M{x} {middle}V{ROW_PX}", on_line))
        for between in numbers[row_of[child] + 1 : row_of[parent]]:
            strokes[between].append(Stroke(f"M{x} 0V{ROW_PX}", on_line))
        into = f"M{x} 0V{middle}" if lane == parent_lane else f"M{x} 0C{x} {middle} {parent_x} 0 {parent_x} {middle}"
        strokes[parent].append(Stroke(into, on_line))
    rows = [
        Row(
            number,
            lane_of[number],
            _x(lane_of[number], lanes),
            sorted(strokes[number], key=lambda stroke: stroke.on_line),  # the line of head lies on top
            number in line,
        )
        for number in numbers
    ]
    return Graph(rows, lanes)


def _x(lane: int, lanes: int) -> float:
    """The middle of a lane. Where there are many, they stand closer together."""
    apart = min(LANE_PX, (MOST_PX - LANE_PX) / max(1, lanes - 1))
    return round(LANE_PX / 2 + lane * apart, 1)


def _up(parents: Mapping[int, int], number: int) -> list[int]:
    """From a version to the bare base, both included."""
    path = [number]
    while path[-1] != BASE:
        path.append(parents[path[-1]])
    return path


def _lanes(parents: Mapping[int, int], head: int, row_of: Mapping[int, int]) -> dict[int, int]:
    """Head's line, with what was learned last on top of it, goes first; each other branch takes the first free lane."""
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    tip = head
    while children.get(tip):
        tip = max(children[tip])
    leaves = [tip, *sorted((one for one in parents if one not in children and one != tip), reverse=True)]
    lane_of: dict[int, int] = {BASE: 0}
    taken: list[list[tuple[int, int]]] = []  # lane -> rows in use, from and to
    for leaf in leaves:
        branch: list[int] = []
        for number in _up(parents, leaf):
            if number in lane_of:
                break
            branch.append(number)
        if not branch:
            continue
        top, bottom = row_of[branch[0]], row_of[parents.get(branch[-1], BASE)]
        lane = next(
            (at for at, rows in enumerate(taken) if all(bottom <= first or top >= last for first, last in rows)),
            len(taken),
        )
        if lane == len(taken):
            taken.append([])
        taken[lane].append((top, bottom))
        lane_of |= dict.fromkeys(branch, lane)
    return lane_of
