"""The costs of the pieces of a generation."""

from benchmarks.step_costs import bars_of, measure, table
from cns.base_model import BaseModel


def test_every_piece_is_measured_and_stands_in_the_table(sd1: BaseModel) -> None:
    found = measure(sd1, rows=(2, 4), repeats=1)
    assert list(found["step"]) == ["2", "4"]
    assert all(seconds > 0 for seconds in (*found["step"].values(), *(found[name] for name in ("prompt", "decode"))))
    shown = table({"step": {"2": 0.02, "4": 0.03}, "prompt": 0.005, "look": 0.0001, "decode": 0.01, "fit": 0.2})
    assert "| a step of 4 rows, each row | 7.50 |  |" in shown
    assert "| look | 0.10 | 0.5% |" in shown
    assert [bars_of({"step": {"2": 1.0}, "look": look})[0].holds for look in (0.05, 0.06)] == [True, False]
