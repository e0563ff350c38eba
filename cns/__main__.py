"""`python -m cns`."""

import os

# Set before the library comes in: while it is imported it warns of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from cns.cli import app

app(prog_name="python -m cns")
