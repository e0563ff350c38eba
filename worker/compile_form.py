"""`python -m worker.compile_form`: compile the denoiser that standard input describes, behind everything else.

Its last line on standard error is the sentence that says why it could not. To be started by `worker.compiling`.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from app.processes import die_with


def main() -> None:
    step_back()
    task = json.load(sys.stdin)
    # Not between fork and exec, as the worker has many threads, and what one of them holds then is never let go.
    if sys.platform == "linux":
        die_with(task["worker"])
    # While the libraries come in they warn of picture tools that are not used here.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Not above: they are seconds of work too, for which nobody's picture should wait.
    import torch

    from cns.compiling import CannotCompile, Form, compile_denoiser
    from worker.device import use_device

    device = torch.device(task["device"])
    try:
        use_device(device)
        compile_denoiser(task["config"], Form.from_json(task["form"]), device, Path(task["path"]))
    except CannotCompile as error:
        sys.exit(str(error))


def step_back() -> None:
    """Let whoever else wants the processor have it at once, where the system knows how (Linux)."""
    if sys.platform == "linux":
        with suppress(PermissionError):  # a container may forbid it; then it is merely the nicest
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    main()
