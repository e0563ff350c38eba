"""What was learned and measured so far, in a folder, so that a run that is killed goes on where it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cns.delta import Delta
from cns.history_folder import as_json, write_atomically


class Memory:
    """Makes each thing once. folder: of one experiment; another one, with other settings, needs another."""

    def __init__(self, folder: Path):
        self.folder = folder

    def delta(self, name: str, make: Callable[[], Delta]) -> Delta:
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            write_atomically(path, make().to_bytes())
        return Delta.from_bytes(path.read_bytes())

    def figures(self, name: str, make: Callable[[], Any]) -> Any:
        """Anything that JSON can hold."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            write_atomically(path, json.dumps(as_json(make())).encode())
        return json.loads(path.read_text(encoding="utf-8"))
