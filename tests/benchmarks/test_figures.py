"""The benchmark's charts show what there is to be seen."""

from benchmarks.continual.figures import draw_charts


def test_what_nobody_manages_has_no_chart() -> None:
    figures = {f"{name}_present": {"mean": mean, "spread": None} for name, mean in (("pair", 0.2), ("triple", 0.0))}
    row = {"stream": "one", "method": "cns", "family": "neurons", "figures": figures}
    cell = {"stream": "one", "method": "cns", "stages": []}
    assert list(draw_charts({"stream": "one", "rows": [row], "cells": [cell]})) == ["pair"]
