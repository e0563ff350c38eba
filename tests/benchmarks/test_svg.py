"""Charts are well-formed pictures that say what their numbers are."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from benchmarks.svg import Bar, Line, bar_chart, heat_map, line_chart, nice_ticks, spread_out

SVG = "{http://www.w3.org/2000/svg}"


def read(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)  # noqa: S314 (we wrote it ourselves)


def words(chart: str) -> list[str]:
    return [element.text or "" for element in read(chart).iter(f"{SVG}text")]


def test_a_line_rises_where_its_numbers_do() -> None:
    chart = line_chart([Line("ours & theirs", [(1, 0.2), (2, 0.9)])], title="t", x_label="concepts", y_label="kept")
    (line,) = read(chart).iter(f"{SVG}polyline")
    (first_x, first_y), (last_x, last_y) = (map(float, spot.split(",")) for spot in line.attrib["points"].split())
    assert first_x < last_x
    assert first_y > last_y, "SVG counts downwards"
    assert "ours & theirs" in words(chart)


def test_a_band_lies_around_its_line() -> None:
    chart = line_chart([Line("a", [(1, 0.5), (2, 0.5)], [0.4, 0.4], [0.6, 0.6])], title="t", x_label="", y_label="")
    (band,) = read(chart).iter(f"{SVG}polygon")
    (line,) = read(chart).iter(f"{SVG}polyline")
    heights = [float(spot.split(",")[1]) for spot in band.attrib["points"].split()]
    middle = float(line.attrib["points"].split()[0].split(",")[1])
    assert min(heights) < middle < max(heights)


def test_bars_are_as_long_as_their_values() -> None:
    chart = bar_chart([Bar("one", 1.0), Bar("two", 2.0, spread=0.1), Bar("less", -1.0)], title="t", goal=1.5)
    lengths = [float(bar.attrib["width"]) for bar in read(chart).iter(f"{SVG}rect")][1:]
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=0.2)
    assert lengths[2] == pytest.approx(lengths[0], abs=0.2)


def test_a_heat_map_writes_each_value_and_leaves_gaps_empty() -> None:
    chart = heat_map([[0.0, None], [0.5, 1.0]], ["a", "b"], ["a rather long name", "d"], title="overlap")
    assert [word for word in words(chart) if word in ("0.00", "0.50", "1.00")] == ["0.00", "0.50", "1.00"]
    assert len(list(read(chart).iter(f"{SVG}rect"))) == 1 + 3


def test_tables_and_charts_without_data_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        line_chart([Line("a", [])], title="t", x_label="", y_label="")
    with pytest.raises(ValueError, match="at least one bar"):
        bar_chart([], title="t")
    with pytest.raises(ValueError, match="one name for each row"):
        heat_map([[1.0]], ["a", "b"], ["c"], title="t")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.03, 0.012), (3, 3), (0.951, 0.987), (0, 12345)])
def test_ticks_are_even_and_hold_the_data(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8
    steps = {round(b - a, 9) for a, b in pairwise(ticks)}
    assert max(steps) - min(steps) < 1e-6


def test_ticks_of_counts_are_whole() -> None:
    assert nice_ticks(1, 3, most=10, whole=True) == [1, 2, 3]


def test_labels_do_not_cover_each_other() -> None:
    moved = sorted(spread_out([10, 11, 10.5, 200], 14))
    assert all(b - a >= 14 - 1e-9 for a, b in pairwise(moved))
