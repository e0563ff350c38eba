"""Write docs/openapi.json, the description of the REST interface: `python -m app.openapi`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from app.config import Settings
from app.main import create_app

FILE = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"


def describe() -> dict[str, Any]:
    """The same on every machine: made from the defaults, and from nothing that runs."""
    return create_app(Settings(), lambda *_args, **_kwargs: None).openapi()


def as_text(description: dict[str, Any]) -> str:
    return json.dumps(description, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def main() -> None:
    argparse.ArgumentParser(description="Write docs/openapi.json.").parse_args()
    FILE.write_text(as_text(describe()), encoding="utf-8")
    sys.stdout.write(f"Wrote {FILE}.\n")


if __name__ == "__main__":
    main()
