"""A Chromium for the tests of pages, where one can be had: `python -m tests.bring_chromium`, as `make test` does first.

One that this machine has is left alone and used. Else the one that playwright brings is put into the environment's own
folder. Where neither is possible, those tests are skipped and say so.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.site import find_chromium

LIMIT_S = 600  # some 120 MB
NAMES = ("chrome-headless-shell", "headless_shell", "chrome")
WITHOUT = (
    "The tests of pages will be skipped. A Chromium of your own is used too, as Debian's: apt-get install chromium."
)


def fetch(folder: Path) -> None:
    """Let playwright put its own into `folder`. Raises what went wrong."""
    subprocess.run(
        [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"],
        env={**os.environ, "PLAYWRIGHT_BROWSERS_PATH": str(folder)},
        capture_output=True,
        check=True,
        timeout=LIMIT_S,
    )


def bring(environment: Path, say: Callable[[str], object], fetch: Callable[[Path], None] = fetch) -> bool:
    """Whether there is one now. environment: the folder of the virtual environment, whose programs come first."""
    link, folder = environment / "bin" / "chromium", environment / "browsers"
    if find_chromium() or link.exists():
        return True
    say("There is no Chromium here; fetching one for the tests of pages.")
    try:
        fetch(folder)
        program = next(path for name in NAMES for path in folder.rglob(name) if os.access(path, os.X_OK))
        subprocess.run([program, "--version"], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        why = "it does not run here" if folder.exists() and any(folder.rglob("chrome*")) else "it cannot be fetched"
        say(f"No Chromium: {why} ({type(error).__name__}). {WITHOUT}")
        return False
    link.symlink_to(program)
    return True


if __name__ == "__main__":
    bring(Path(sys.prefix), lambda line: sys.stdout.write(f"{line}\n"))
