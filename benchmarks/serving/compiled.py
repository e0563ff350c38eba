"""A compiled step: seconds by the number of rows beside the eager one, and what warming up costs those who wait.

Three ways in turns: eager, compiled, and as a worker takes it, which tries the compiled one and keeps whichever is
faster. Pictures are then timed with and without a compilation going on beside them.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.bars import at_most
from benchmarks.markdown import make_table
from benchmarks.performance.record import Told
from benchmarks.serving.ours import Ours
from benchmarks.serving.tenants import PROMPT, each_tenant
from benchmarks.timing import Seconds, alternate, take_time, times_as_long
from cns.base_model import BaseModel
from cns.compiled import CompiledDenoiser
from cns.compiling import CannotCompile, Form
from cns.compose import compose
from cns.denoise import GenerationRequest, GenerationRun, denoise_step
from cns.kv import LayerKV, Predict, handed_attention, predict
from worker.compiled_steps import CompiledSteps
from worker.compiling import Compiler

EAGER, COMPILED, WORKERS = "eager", "compiled", "worker's"
WITHOUT, FIRST, BESIDE = "without", "when it begins", "while it goes on"
MOST_OF_EAGER = 1.05  # of the worker's step: what two measurements of one thing differ by
MOST_OF_QUIET = 1.1
ENOUGH = 12  # steps after which a worker has tried both ways and chosen


@dataclass(frozen=True)
class Plan:
    """pictures: in one step, each with guidance and so of two rows. calls: steps of each way in each round.

    beside: pictures of each round, one after another, while a compilation runs.
    """

    pictures: tuple[int, ...] = (1, 2, 4, 8, 16)
    steps: int = 25
    guidance: float = 4.0
    calls: int = 3
    rounds: int = 7
    beside: int = 4


QUICK = Plan(pictures=(1, 4), steps=4, calls=1, rounds=1, beside=1)


def measure(base: BaseModel, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of steps by way and rows, of pictures before and beside compiling, and of compiling and loading itself.

    Raises CannotCompile.
    """
    runs = {2 * count: _begin(base, plan, count) for count in plan.pictures}
    form = _form_of(runs[2 * plan.pictures[0]])
    say(f"{plan.rounds} rounds of pictures, with and without a compilation beside them")
    waits = _wait_beside(base, plan, form)
    say("compiling alone")
    made: list[CompiledDenoiser] = []
    warming_up_s = take_time(lambda: made.append(Compiler(base).compile(form)), base.device)
    denoiser = made[0]
    call = CompiledSteps(base, _Made(denoiser), worth_steps=1)
    compiled = _call(denoiser)
    say(f"{plan.rounds} rounds of {len(runs)} numbers of rows")
    seconds: dict[str, dict[str, list[float]]] = {}
    with handed_attention(base.unet):
        for rows, own in runs.items():
            for _ in range(ENOUGH):
                denoise_step(base, own, call)
                call.wait()
            ways: dict[str, Predict] = {EAGER: predict, COMPILED: compiled, WORKERS: call}
            steps = {name: partial(_step, base, own, way, plan.calls) for name, way in ways.items()}
            seconds[str(rows)] = alternate(steps, plan.rounds, base.device)
        apart = {str(rows): _apart(base, own, compiled) for rows, own in runs.items()}
    call.stop()
    return {
        "seconds": seconds,
        "apart": apart,
        "chosen": {str(rows): share for rows, share in call.shares().items()},
        "warming_up_s": warming_up_s,
        "waits": waits,
    }


def _wait_beside(base: BaseModel, plan: Plan, form: Form) -> Seconds:
    """Seconds of a picture, round by round: without a compilation, when one begins, and while it goes on."""
    version, asked = compose(base), GenerationRequest(PROMPT, steps=plan.steps, guidance=plan.guidance)
    ours = Ours(base, batch_rows=2)

    def draw() -> float:
        return take_time(lambda: ours.paint([lambda: version], [asked]), base.device)

    draw()
    waits: Seconds = {WITHOUT: [], FIRST: [], BESIDE: []}
    for _ in range(plan.rounds):
        waits[WITHOUT].append(median(draw() for _ in range(plan.beside)))
        first, *others = _draw_beside(Compiler(base), form, draw, 1 + plan.beside)
        waits[FIRST].append(first)
        waits[BESIDE].append(median(others))
    return waits


def _draw_beside(compiler: Compiler, form: Form, draw: Callable[[], float], count: int) -> list[float]:
    """Seconds of each of so many pictures, the first asked for when a compilation begins, which is ended afterwards.

    It would not come to its end beside them: it runs behind everything else, and they leave nothing of two cores.
    """
    with ThreadPoolExecutor(1) as aside:
        coming = aside.submit(compiler.compile, form)
        seconds = [draw() for _ in range(count)]
        compiler.stop()
    problem = coming.exception()  # that it was ended
    if problem is not None and not isinstance(problem, CannotCompile):
        raise problem
    return seconds


@dataclass(frozen=True)
class _Made:
    """A compiler that has its denoiser already."""

    denoiser: CompiledDenoiser

    def compile(self, form: Form) -> CompiledDenoiser:
        return self.denoiser

    def stop(self) -> None:
        """Nothing runs."""


def _begin(base: BaseModel, plan: Plan, count: int) -> list[GenerationRun]:
    asked, version = GenerationRequest(PROMPT, steps=500, guidance=plan.guidance), compose(base)
    return [GenerationRun(base, version, one) for one in each_tenant(count, asked)]


def _form_of(runs: list[GenerationRun]) -> Form:
    """Of a step of theirs, in the dtype that the base computes in."""
    kv = runs[0].prompts[0].kv
    return Form.of(runs[0].inputs().to(next(iter(kv.values()))[0].dtype), kv, runs[0].added)


def _call(denoiser: CompiledDenoiser) -> Predict:
    """It, in the place of `cns.kv.predict`."""

    def call(
        base: BaseModel, latents: Tensor, timesteps: Tensor, kv: LayerKV, added: Any = None, *unused: Any
    ) -> Tensor:
        return denoiser(latents, timesteps, kv, added)

    return call


def _step(base: BaseModel, runs: list[GenerationRun], call: Predict, calls: int) -> None:
    for _ in range(calls):
        denoise_step(base, runs, call)


@torch.no_grad()
def _apart(base: BaseModel, runs: list[GenerationRun], compiled: Predict) -> float:
    """How far the answers lie apart, as a share of the largest value."""
    found: list[float] = []

    def compare(*inputs: Any) -> Tensor:
        expected = predict(*inputs)
        apart = (compiled(*inputs).float() - expected.float()).abs().max() / expected.float().abs().max()
        found.append(float(apart))
        return expected

    denoise_step(base, runs, compare)
    return found[0]


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> Told:
    """What compiling gains at each number of rows, what it changes, and who waits for it."""
    seconds = figures["seconds"]
    gains = {rows: times_as_long(taken, EAGER, COMPILED) for rows, taken in seconds.items()}
    kept = {rows: times_as_long(taken, WORKERS, EAGER) for rows, taken in seconds.items()}
    first, waited = (times_as_long(figures["waits"], way, WITHOUT) for way in (FIRST, BESIDE))
    sentences = (
        f"A compiled step makes {min(gains.values()):.2f} to {max(gains.values()):.2f} times as many steps as an eager "
        f"one here, by the number of rows. Its answers lie at most {max(figures['apart'].values()):.1e} of the largest "
        f"value apart. Compiling took {figures['warming_up_s']:.0f} s in a process of its own with nothing beside it, "
        f"and it runs behind everything else: a picture asked for when it began took {first:.2f} times what one takes "
        f"otherwise, and those asked for one after another while it went on {waited:.2f} times.",
    )
    rows = [
        (
            int(number),
            *(1000 * median(taken[way]) / plan["calls"] for way in (EAGER, COMPILED, WORKERS)),
            gains[number],
            kept[number],
        )
        for number, taken in seconds.items()
    ]
    heads = ("rows", "eager, ms", "compiled, ms", "the worker's, ms", "times as fast", "the worker's of eager")
    bars = (
        at_most(
            "the worker's step, which is compiled where that pays, against the eager one, at worst",
            max(kept.values()),
            MOST_OF_EAGER,
        ),
        at_most("a picture asked for while it compiles, against one without", waited, MOST_OF_QUIET),
        at_most("a picture asked for when compiling begins, against one without", first, MOST_OF_QUIET),
    )
    return Told(sentences, (make_table(heads, rows),), bars)
