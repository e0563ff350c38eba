"""The committed results of a run: machine, libraries, every cell's raw figures, rows and bars, in one JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.continual.album import pack_tiles, sheet_headings
from benchmarks.continual.streams import Stream
from benchmarks.continual.summary import check_bars, summarise
from benchmarks.machine import describe_machine, library_versions
from cns.base_model import BaseModel
from cns.history_folder import write_atomically

DEFAULT_METHOD = "cns+"
DIGITS = 5
"""Significant digits of raw figures: finer than any repetition repeats."""


def build_results(
    name: str, base: BaseModel, stream: Stream, cells: Sequence[Mapping[str, Any]], setup: Mapping[str, Any]
) -> dict[str, Any]:
    """stream: the one that the bars and the sheet are about. Sheets of its first repetition are kept, no others."""
    rows = summarise(cells)
    main = stream.name if any(cell["stream"] == stream.name for cell in cells) else cells[0]["stream"]
    first_seed = min(cell["seed"] for cell in cells)
    kept = [
        {key: value for key, value in cell.items() if key != "sheet" or _on_sheet(cell, main, first_seed)}
        for cell in cells
    ]
    return {
        "name": name,
        "machine": describe_machine(base.device),
        "libraries": library_versions(),
        "setup": dict(setup),
        "stream": main,
        "default": DEFAULT_METHOD,
        "concepts": [
            {"name": one.name, "noun": one.class_noun, "twin": one.twin, "a_thing": one.a_thing}
            for one in stream.concepts
        ],
        "sheet": {
            "headings": sheet_headings(stream),
            "taught": pack_tiles([one.lesson.pictures[0] for one in stream.concepts]),
        },
        "bars": [bar.to_json() for bar in check_bars(rows, DEFAULT_METHOD, main)],
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
        "cells": kept,
    }


def _on_sheet(cell: Mapping[str, Any], stream: str, seed: int) -> bool:
    return bool(cell["stream"] == stream and cell["seed"] == seed)


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """As JSON with one line for each cell, so that a changed one is one changed line."""
    rounded = _rounded(results)
    cells = ",\n".join(json.dumps(cell, allow_nan=False) for cell in rounded.pop("cells"))
    head = json.dumps(rounded, indent=1, allow_nan=False).removesuffix("\n}")
    write_atomically(path, f'{head},\n "cells": [\n{cells}\n ]\n}}\n'.encode())


def read_results(path: Path) -> dict[str, Any]:
    """What `write_results` wrote."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value
