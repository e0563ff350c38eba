"""What a measurement of performance is kept as, and what is said of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.kept import digest_of, rounded
from benchmarks.machine import describe_machine, library_versions
from cns.base_model import BaseModel
from cns.history_folder import write_atomically

PEERS = ("peft", "accelerate")


@dataclass(frozen=True)
class Told:
    """What figures come to, for people. tables: Markdown. charts: name of a file without its ending -> SVG."""

    sentences: tuple[str, ...]
    tables: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    charts: Mapping[str, str] = field(default_factory=dict)


def describe_run(name: str, base_name: str, base: BaseModel, plan: Any) -> dict[str, Any]:
    """All that decides the figures: what is measured, on which base, how often, and on which machine."""
    return {
        "name": name,
        "base": {"name": base_name, "id": base.id, "dtype": str(base.dtype).removeprefix("torch.")},
        "plan": json.loads(json.dumps(asdict(plan))),
        "machine": describe_machine(base.device),
        "versions": {**library_versions(), **_peer_versions()},
    }


def _peer_versions() -> dict[str, str]:
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def place_of(results: Path, name: str, base_name: str, device: str) -> Path:
    """Where a measurement is kept: one on the storybook and the CPU under its bare name."""
    parts = [name, *([] if base_name == "storybook" else [Path(base_name).name])]
    return results / f"{'-'.join([*parts, *([] if device == 'cpu' else [device])])}.json"


def is_there(path: Path, run: Mapping[str, Any]) -> bool:
    """Whether `path` holds the figures of exactly this run."""
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("question") == digest_of(run)


def as_kept(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as they will be read again, so that the page says what was said right after measuring."""
    kept: dict[str, Any] = json.loads(json.dumps(rounded(figures), allow_nan=False))
    return kept


def write_result(path: Path, run: Mapping[str, Any], figures: Mapping[str, Any], told: Told) -> None:
    """One JSON file: the run, its raw figures, what they say, and the bars. A half-written one is never seen."""
    content = {
        "question": digest_of(run),
        **run,
        "figures": figures,
        "says": list(told.sentences),
        "bars": [asdict(bar) for bar in told.bars],
    }
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_results(results: Path, name: str) -> Sequence[dict[str, Any]]:
    """Every measurement of that name, whatever base and device: the storybook's on the CPU first."""
    paths = [results / f"{name}.json", *sorted(results.glob(f"{name}-*.json"))]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    return [content for content in found if content.get("name") == name]
