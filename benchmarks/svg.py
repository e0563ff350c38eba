"""Charts as plain SVG text: lines over a stream, bars with a spread, heat maps. Numbers in, a string out.

Equal numbers give equal text, so that a figure in the docs changes only when its data does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Okabe and Ito's eight colours, which colour-blind readers can tell apart; the yellow is darkened to be seen on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7d00", "#000000")
DASHES = ("", "6 3", "2 3", "8 3 2 3")
INK, FAINT, GRID, PAPER = "#222222", "#666666", "#dddddd", "#ffffff"
FONT = "font-family='system-ui, sans-serif'"
TEXT_PX, TITLE_PX = 12, 14
MEAN_LETTER = 0.56  # width of a letter as a share of its height, near enough to leave room for words


@dataclass(frozen=True)
class Line:
    """label stands at the line's end. points: (x, y) in the order of x; low, high: a band around them, if any."""

    label: str
    points: Sequence[tuple[float, float]]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Bar:
    """spread: half the length of the whisker; 0 for none. colour: a place in the palette."""

    label: str
    value: float
    spread: float = 0.0
    colour: int = 0


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    goal: float | None = None,
    width_px: int = 760,
    height_px: int = 420,
) -> str:
    """Lines with their names at their right ends; `goal` is a level across. Raises ValueError without a point."""
    drawn = [line for line in lines if line.points]
    if not drawn:
        raise ValueError("A line chart needs at least one point.")
    across = [x for line in drawn for x, _ in line.points]
    up = [y for line in drawn for _, y in line.points] + [y for line in drawn for y in (*line.low, *line.high)]
    y_ticks = nice_ticks(min([*up, *_given(goal)]), max([*up, *_given(goal)]))
    x_ticks = nice_ticks(min(across), max(across), most=10, whole=all(x == int(x) for x in across))
    left, top, bottom = 62, 56, height_px - 48
    right = width_px - 20 - int(max(len(line.label) for line in drawn) * TEXT_PX * MEAN_LETTER)

    def place(x: float, y: float) -> tuple[float, float]:
        return _between(x, x_ticks, left, right), _between(y, y_ticks, bottom, top)

    parts = [_words(16, 22, title, size=TITLE_PX, weight="600")]
    for tick in y_ticks:
        height = place(x_ticks[0], tick)[1]
        parts += [_rule(left, height, right, height, GRID), _words(left - 6, height + 4, _number(tick), anchor="end")]
    for tick in x_ticks:
        parts.append(_words(place(tick, y_ticks[0])[0], bottom + 18, _number(tick), anchor="middle"))
    parts.append(_words((left + right) / 2, height_px - 10, x_label, anchor="middle", fill=FAINT))
    parts.append(_words(left, top - 8, y_label, fill=FAINT))
    if goal is not None:
        level = place(x_ticks[0], goal)[1]
        parts += [_rule(left, level, right, level, FAINT, dash="3 4"), _words(left + 4, level - 4, "goal", fill=FAINT)]
    ends = spread_out([place(*line.points[-1])[1] for line in drawn], TEXT_PX + 2)
    for number, (line, end) in enumerate(zip(drawn, ends, strict=True)):
        colour, dash = PALETTE[number % len(PALETTE)], DASHES[number // len(PALETTE) % len(DASHES)]
        spots = [place(x, y) for x, y in line.points]
        if line.low and line.high:
            edge = [place(x, y) for (x, _), y in zip(line.points, line.high, strict=True)]
            edge += [place(x, y) for (x, _), y in zip(line.points, line.low, strict=True)][::-1]
            parts.append(f"<polygon points='{_spots(edge)}' fill='{colour}' fill-opacity='0.12'/>")
        parts.append(
            f"<polyline points='{_spots(spots)}' fill='none' stroke='{colour}' stroke-width='2' "
            f"stroke-dasharray='{dash}'/>"
        )
        parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='2.6' fill='{colour}'/>" for x, y in spots]
        if abs(end - spots[-1][1]) > 1:
            parts.append(_rule(spots[-1][0], spots[-1][1], right + 4, end - 4, colour, width=0.6))
        parts.append(_words(right + 6, end, line.label, fill=colour))
    return _document(width_px, height_px, parts, title)


def bar_chart(
    bars: Sequence[Bar], *, title: str, x_label: str = "", goal: float | None = None, width_px: int = 760
) -> str:
    """Lying bars, one below the other, with their values; `goal` is a dashed line down. Raises ValueError for none."""
    if not bars:
        raise ValueError("A bar chart needs at least one bar.")
    left = 24 + int(max(len(bar.label) for bar in bars) * TEXT_PX * MEAN_LETTER)
    right, top, step = width_px - 70, 44, 24
    bottom = top + step * len(bars)
    ends = [bar.value + side * bar.spread for bar in bars for side in (-1, 1)]
    ticks = nice_ticks(min([0.0, *ends, *_given(goal)]), max([0.0, *ends, *_given(goal)]))

    def across(value: float) -> float:
        return _between(value, ticks, left, right)

    parts = [_words(16, 22, title, size=TITLE_PX, weight="600")]
    for tick in ticks:
        parts += [_rule(across(tick), top, across(tick), bottom, GRID)]
        parts.append(_words(across(tick), bottom + 16, _number(tick), anchor="middle"))
    for number, bar in enumerate(bars):
        upper, middle = top + step * number + 4, top + step * number + step / 2
        start, end = sorted((across(0), across(bar.value)))
        colour = PALETTE[bar.colour % len(PALETTE)]
        parts.append(
            f"<rect x='{start:.1f}' y='{upper}' width='{max(1.0, end - start):.1f}' height='{step - 8}' "
            f"fill='{colour}' fill-opacity='0.85'/>"
        )
        if bar.spread:
            parts.append(_rule(across(bar.value - bar.spread), middle, across(bar.value + bar.spread), middle, INK))
        parts.append(_words(left - 8, middle + 4, bar.label, anchor="end"))
        parts.append(_words(right + 10, middle + 4, f"{bar.value:.3g}", fill=FAINT))
    if goal is not None:
        parts.append(_rule(across(goal), top, across(goal), bottom, INK, dash="3 4"))
    parts.append(_words((left + right) / 2, bottom + 34, x_label, anchor="middle", fill=FAINT))
    return _document(width_px, bottom + 44, parts, title)


def heat_map(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    low: float | None = None,
    high: float | None = None,
    cell_px: int = 46,
) -> str:
    """A table of values as tones from white (`low`) to blue (`high`), each written in its cell; None stays empty.

    Column names longer than a cell are turned. Raises ValueError for a table whose size is not that of its names.
    """
    if len(values) != len(rows) or any(len(row) != len(columns) for row in values) or not rows or not columns:
        raise ValueError("A heat map needs one name for each row and each column.")
    known = [value for row in values for value in row if value is not None]
    least = min(known, default=0.0) if low is None else low
    most = max(known, default=1.0) if high is None else high
    turned = max(len(name) for name in columns) * TEXT_PX * MEAN_LETTER > cell_px
    left = 24 + int(max(len(name) for name in rows) * TEXT_PX * MEAN_LETTER)
    above = int(max(len(name) for name in columns) * TEXT_PX * MEAN_LETTER * 0.75) + 10 if turned else TEXT_PX + 8
    top = 34 + above
    width = max(left + cell_px * len(columns) + (above if turned else 0), int(len(title) * TITLE_PX * MEAN_LETTER) + 16)
    parts = [_words(16, 22, title, size=TITLE_PX, weight="600")]
    for place, name in enumerate(columns):
        x = left + cell_px * (place + 0.5)
        turn = f" transform='rotate(-45 {x:.1f} {top - 6})'" if turned else ""
        parts.append(_words(x, top - 6, name, anchor="start" if turned else "middle", more=turn))
    for number, (name, row) in enumerate(zip(rows, values, strict=True)):
        upper = top + cell_px * number
        parts.append(_words(left - 8, upper + cell_px / 2 + 4, name, anchor="end"))
        for place, value in enumerate(row):
            if value is None:
                continue
            share = min(1.0, max(0.0, (value - least) / ((most - least) or 1.0)))
            x = left + cell_px * place
            parts.append(
                f"<rect x='{x}' y='{upper}' width='{cell_px - 1}' height='{cell_px - 1}' fill='{_tone(share)}'/>"
            )
            ink = PAPER if share > 0.6 else INK
            parts.append(_words(x + cell_px / 2, upper + cell_px / 2 + 4, f"{value:.2f}", anchor="middle", fill=ink))
    return _document(width + 16, top + cell_px * len(rows) + 16, parts, title)


def nice_ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """At most `most` + 1 round numbers, evenly spaced, the first at or below `low` and the last at or above `high`."""
    if high - low < 1e-12:
        low, high = low - (0.5 if not whole else 0), high + (0.5 if not whole else 1)
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * place, 12) for place in range(first, last + 1)]


def spread_out(heights: Sequence[float], apart: float) -> list[float]:
    """Heights moved downwards as little as keeps any two `apart`, in the order they came in."""
    moved = [0.0] * len(heights)
    lowest = -math.inf
    for place in sorted(range(len(heights)), key=lambda place: heights[place]):
        lowest = max(heights[place] + 4, lowest + apart)
        moved[place] = lowest
    return moved


def _given(goal: float | None) -> list[float]:
    return [] if goal is None else [goal]


def _between(value: float, ticks: Sequence[float], start: float, end: float) -> float:
    return start + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (end - start)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _spots(spots: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)


def _tone(share: float) -> str:
    light, dark = (255, 255, 255), (0, 82, 140)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(light, dark, strict=True))


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = "") -> str:
    dashed = f" stroke-dasharray='{dash}'" if dash else ""
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' "
        f"stroke-width='{width}'{dashed}/>"
    )


def _words(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = TEXT_PX,
    fill: str = INK,
    weight: str = "400",
    more: str = "",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' font-weight='{weight}' fill='{fill}' "
        f"text-anchor='{anchor}'{more}>{escape(text)}</text>"
    )


def _document(width: int, height: int, parts: Sequence[str], title: str) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
    paper = f"<rect width='{width}' height='{height}' fill='{PAPER}'/>"
    return "\n".join([f"{head}role='img'>", f"<title>{escape(title)}</title>", paper, *parts, "</svg>", ""])
