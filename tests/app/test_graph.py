"""The tree of versions as a git graph."""

from itertools import pairwise

from app.histories.graph import draw_graph


def lanes(parents: dict[int, int], head: int) -> dict[int, int]:
    return {row.number: row.lane for row in draw_graph(parents, head).rows}


def test_the_newest_stands_on_top_and_the_base_below() -> None:
    assert [row.number for row in draw_graph({1: 0, 2: 1, 3: 2}, 3).rows] == [3, 2, 1, 0]


def test_a_history_without_versions_is_one_dot() -> None:
    graph = draw_graph({}, 0)
    assert [(row.number, row.lane, list(row.strokes)) for row in graph.rows] == [(0, 0, [])]
    assert graph.lanes == 1


def test_a_line_without_branches_is_straight() -> None:
    assert lanes({1: 0, 2: 1, 3: 2}, 3) == {3: 0, 2: 0, 1: 0, 0: 0}


def test_the_line_of_head_keeps_the_first_lane_however_old_it_is() -> None:
    assert lanes({1: 0, 2: 1, 3: 1}, 2) == {3: 1, 2: 0, 1: 0, 0: 0}
    assert lanes({1: 0, 2: 1, 3: 1}, 3) == {3: 0, 2: 1, 1: 0, 0: 0}


def test_what_was_learned_above_head_goes_on_in_its_lane() -> None:
    assert lanes({1: 0, 2: 1, 3: 2}, 1) == {3: 0, 2: 0, 1: 0, 0: 0}


def test_branches_that_are_never_side_by_side_share_a_lane() -> None:
    found = lanes({1: 0, 2: 1, 3: 1, 4: 3, 5: 3}, 5)  # 2 ended before 4 began
    assert (found[2], found[4]) == (1, 1)
    beside = lanes({1: 0, 2: 1, 3: 1, 4: 1}, 4)
    assert len({beside[2], beside[3], beside[4]}) == 3


def test_only_what_lies_between_the_base_and_head_is_on_its_line() -> None:
    assert {row.number: row.on_line for row in draw_graph({1: 0, 2: 1, 3: 2}, 2).rows} == {
        3: False,
        2: True,
        1: True,
        0: True,
    }


def test_every_version_reaches_its_parent_without_a_gap() -> None:
    parents = {1: 0, 2: 1, 3: 2, 4: 1, 5: 4, 6: 0}
    graph = draw_graph(parents, 5)
    rows = {row.number: row for row in graph.rows}
    order = [row.number for row in graph.rows]
    for child, parent in parents.items():
        x = rows[child].x
        assert any(stroke.path.startswith(f"M{x} 42") for stroke in rows[child].strokes)
        for between in order[order.index(child) + 1 : order.index(parent)]:
            assert any(stroke.path == f"M{x} 0V84" for stroke in rows[between].strokes)
        assert any(stroke.path.startswith(f"M{x} 0") for stroke in rows[parent].strokes)


def test_many_lanes_stand_closer_together_so_that_words_find_room_beside_them() -> None:
    few = draw_graph({1: 0, 2: 1, 3: 1}, 3)
    assert ([row.x for row in few.rows], few.width_px) == ([13, 39, 13, 13], 52)
    many = draw_graph(dict.fromkeys(range(1, 11), 0), 10)
    assert many.lanes == 10
    assert many.width_px <= 0.35 * 358  # what is left of a telephone beside its margins
    places = sorted({row.x for row in many.rows})
    assert len(places) == 10
    assert min(after - before for before, after in pairwise(places)) > 8
