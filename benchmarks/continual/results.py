"""The committed results of a run: rows, bars and the cells they are made from, in one JSON beside the cells."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.continual.album import sheet_headings
from benchmarks.continual.method import Method
from benchmarks.continual.streams import Stream
from benchmarks.continual.summary import check_bars, differences_by_seed, summarise
from benchmarks.kept import rounded
from cns.history_folder import write_atomically

DEFAULT_METHOD = "cns-local"


def build_results(
    name: str,
    stream: Stream,
    whole: int,
    methods: Sequence[Method],
    cells: Sequence[Mapping[str, Any]],
    setup: Mapping[str, Any],
    narrowest: int,
) -> dict[str, Any]:
    """stream: the one that the bars and the pictures are about; of it there is a cell. whole: how many concepts it has
    when it is not cut. methods: all that there are, so that the page can say which of them were not run. narrowest:
    numbers that go into the narrowest of the projections that adapters change.
    """
    rows = summarise(cells, {one.name for one in stream.concepts if one.a_thing})
    measured = {row.method for row in rows if row.stream == stream.name}
    bars = check_bars(rows, DEFAULT_METHOD, stream.name)
    return {
        "name": name,
        "machines": [json.loads(one) for one in dict.fromkeys(json.dumps(cell["machine"]) for cell in cells)],
        "libraries": [json.loads(one) for one in dict.fromkeys(json.dumps(cell["libraries"]) for cell in cells)],
        "setup": dict(setup),
        "stream": stream.name,
        "orders": {cell["stream"]: _order(cell) for cell in cells},
        "whole": whole,
        "default": DEFAULT_METHOD,
        "concepts": [
            {"name": one.name, "noun": one.class_noun, "twin": one.twin, "a_thing": one.a_thing}
            for one in stream.concepts
        ],
        "headings": sheet_headings(stream),
        "not_run": [method.title for method in methods if method.name not in measured],
        "narrowest": narrowest,
        "bars": [asdict(bar) for bar in bars],
        "by_seed": differences_by_seed(bars, rows, DEFAULT_METHOD, stream.name),
        "rows": [
            {
                "method": row.method,
                "title": row.title,
                "kind": row.kind,
                "family": row.family,
                "stream": row.stream,
                "repetitions": row.repetitions,
                "figures": {figure: value.to_json() for figure, value in row.figures.items()},
            }
            for row in rows
        ],
        "cells": list(cells),
    }


def _order(cell: Mapping[str, Any]) -> list[str]:
    """The concepts as they were learned."""
    return [name for stage in cell["stages"] for name in stage["learned"]]


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """As JSON. Cells are named by their files, which lie in the folder of the same name, and not written twice."""
    named = [f"{cell['stream']}/{cell['method']}-{cell['seed']}" for cell in results.get("cells", ())]
    written = {**rounded(results), "cells": named} if "cells" in results else rounded(results)
    write_atomically(path, (json.dumps(written, indent=1, allow_nan=False) + "\n").encode())


def read_results(path: Path) -> dict[str, Any]:
    """What `write_results` wrote, with the cells as they now lie in their folder."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    files = [path.with_suffix("") / f"{name}.json" for name in results.get("cells", ())]
    return {**results, "cells": [json.loads(file.read_text(encoding="utf-8")) for file in files]}
