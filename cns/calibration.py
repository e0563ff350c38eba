"""Calibration prompts: what general image making needs, so that a concept's neurons can be told from everyone's."""

from importlib.resources import files
from pathlib import Path

FILE = "calibration_prompts.txt"


def load_calibration_prompts(base_folder: str | Path | None = None) -> tuple[str, ...]:
    """The prompts, one a line, most useful first. A base that speaks of its own world only may bring its own file.

    base_folder: the base's folder; its `calibration_prompts.txt` is used when there is one.
    """
    return tuple(_lines(FILE, base_folder))


def _lines(name: str, base_folder: str | Path | None) -> list[str]:
    own = Path(base_folder) / name if base_folder is not None else None
    text = own.read_text(encoding="utf-8") if own is not None and own.is_file() else None
    if text is None:
        text = files("cns").joinpath(name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
