"""What the pieces of a generation cost: a step by the number of rows, a prompt, a look, and a decoded picture.

`python -m benchmarks.step_costs` prints a table and writes `benchmarks/results/step-costs.json`. The least of a few
measurements counts, which alternate; on a CPU it is the process' own CPU time on one core, as that is hardly changed
by whatever else the machine does, on a GPU the time on the clock.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.bars import Bar, at_most
from benchmarks.machine import describe_machine, library_versions
from benchmarks.markdown import make_table
from cns.base_model import BaseModel, load_base
from cns.compose import compose
from cns.denoise import GenerationRequest, GenerationRun, denoise_step
from cns.kv import handed_attention
from cns.preview import fit_preview
from cns.prompts import encode_prompt
from storybook import MODEL_FOLDER

RESULT = Path(__file__).parent / "results" / "step-costs.json"
ROWS = (2, 4, 8, 16, 32, 64)
PIECES = ("prompt", "look", "decode", "fit")
REPEATS = 5
LOOK_SHARE = 0.05  # what a look at a picture on its way may cost, at most
PROMPT = "a photo of a dog on the grass"


def measure(base: BaseModel, rows: tuple[int, ...] = ROWS, repeats: int = REPEATS) -> dict[str, Any]:
    """Seconds: {"step": {rows: s}, "prompt": s, "look": s, "decode": s, "fit": s}; decode and look of one picture."""
    version, look = compose(base), fit_preview(base)
    runs = {count: [_begin(base, seed) for seed in range(count // 2)] for count in rows}
    latents = runs[rows[0]][0].latents

    def step(count: int) -> None:
        with handed_attention(base.unet):
            denoise_step(base, runs[count])

    pieces: dict[str, Callable[[], object]] = {
        "prompt": lambda: encode_prompt(base, version, PROMPT),
        "look": lambda: look(latents),
        "decode": lambda: base.decode_latents(latents),
        "fit": lambda: fit_preview(base),
    }
    steps: dict[int, float] = {}
    found: dict[str, float] = {}
    for _ in range(repeats):
        for count in rows:
            steps[count] = min(steps.get(count, torch.inf), _seconds(base.device, partial(step, count)))
        for name, piece in pieces.items():
            found[name] = min(found.get(name, torch.inf), _seconds(base.device, piece))
    return {"step": {str(count): seconds for count, seconds in steps.items()}, **found}


def _begin(base: BaseModel, seed: int) -> GenerationRun:
    return GenerationRun(base, compose(base), GenerationRequest(PROMPT, seed=seed, steps=500))


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    begun = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - begun


def table(found: Mapping[str, Any]) -> str:
    """Milliseconds, and each piece as a share of the step of one guided picture."""
    one = found["step"]["2"]
    rows = [
        (f"a step of {count} rows, each row", f"{seconds / int(count) * 1000:.2f}", "")
        for count, seconds in found["step"].items()
    ]
    rows += [(name, f"{found[name] * 1000:.2f}", f"{found[name] / one:.1%}") for name in PIECES]
    return make_table(("piece", "ms", "of a step of one picture"), rows)


def bars_of(found: Mapping[str, Any]) -> list[Bar]:
    share = found["look"] / found["step"]["2"]
    return [at_most("a look at a picture on its way, as a share of its step", share, LOOK_SHARE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", default=str(MODEL_FOLDER), help="a diffusers folder; the storybook without it")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    base = load_base(chosen.base, device=device, dtype=torch.float16 if device.type == "cuda" else torch.float32)
    found = measure(base)
    sys.stdout.write(table(found) + "\n")
    result = {
        "name": RESULT.stem,
        "machines": [describe_machine(device)],
        "libraries": [library_versions()],
        "base_id": base.id,
        "seconds": found,
        "bars": [asdict(bar) for bar in bars_of(found)],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
