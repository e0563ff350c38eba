"""Write docs/configuration.md from the Settings class: `python -m app.describe_settings`."""

import argparse
import sys
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.config import Settings

FILE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """# Configuration

Every setting is an environment variable. Each may also be given as `NAME_FILE`: the path of a file that holds the
value, as container secrets are. An empty value counts as none. Nothing has to be set: `make up` runs everything on one
machine, under `var/`.

*This page is made from `app/config.py` by `make configuration`.*

| variable | default | what it says |
|---|---|---|
"""


def describe() -> str:
    """The whole page."""
    rows = [
        f"| `{name.upper()}` | {_default(field)} | {field.description}{_range(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "needed"
    value = field.default
    if value in ("", None):
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _range(field: FieldInfo) -> str:
    """Bounds, as pydantic keeps them."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    bounds = [
        f"{words[name]} {getattr(bound, name)}" for bound in field.metadata for name in words if hasattr(bound, name)
    ]
    return f" ({', '.join(bounds)})" if bounds else ""


def main() -> None:
    argparse.ArgumentParser(description="Write docs/configuration.md.").parse_args()
    FILE.write_text(describe(), encoding="utf-8")
    sys.stdout.write(f"Wrote {FILE.name}, {len(Settings.model_fields)} settings.\n")


if __name__ == "__main__":
    main()
