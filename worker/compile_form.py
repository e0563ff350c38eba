"""`python -m worker.compile_form`: compile the denoiser that standard input describes, behind everything else.

Its last line on standard error is the sentence that says why it could not. To be started by `worker.compiling`.
"""

import json
import os
import sys
from pathlib import Path

# Set before the libraries come in: while they are imported they warn of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from app.processes import die_with
from cns.compiling import CannotCompile, Form, compile_denoiser

BEHIND_ALL = 19  # of nice(2): whoever else wants the processor goes first


def main() -> None:
    os.nice(BEHIND_ALL)
    task = json.load(sys.stdin)
    # Not between fork and exec, as the worker has many threads, and what one of them holds then is never let go.
    if sys.platform == "linux":
        die_with(task["worker"])
    try:
        compile_denoiser(task["config"], Form.from_json(task["form"]), torch.device(task["device"]), Path(task["path"]))
    except CannotCompile as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
