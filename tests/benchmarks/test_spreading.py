"""Each way to draw the tokens of a version has its row, and spreading says what it misses and moves."""

from dataclasses import replace

from benchmarks.spreading import Scales, measure_spreading
from cns.base_model import BaseModel
from cns.compose import Version, compose
from tests.cns.test_compose import make_delta


class Stubborn(Scales):
    """Tells versions apart by whether values stand at tokens, in the weights, or nowhere."""

    def __init__(self, base: BaseModel) -> None:
        self.base = base

    def way(self, version: Version) -> float:
        if version.at_tokens:
            return 1.0
        return 0.5 if any(version.weights[k] is not weight for k, weight in self.base.kv_weights.items()) else 0.0


def test_every_way_has_a_row_and_firmer_spreading_misses_more_and_moves_less(sd1: BaseModel) -> None:
    version = compose(sd1, [replace(make_delta(sd1, "rex", 1), reach="token")])
    rows = measure_spreading(sd1, version, ("a red house", "a cat at night"), Stubborn(sd1), (0.01, 10.0))
    assert [row["way"] for row in rows] == [1.0, 0.0, 0.5, 0.5, 0.5]
    loose, firm = rows[-2:]
    assert loose["missed"] < firm["missed"]
    assert loose["moved"] > firm["moved"]
    assert [name for row in rows[:3] for name in row if name in ("missed", "moved")] == []
