"""Seconds and memory of one learning step, ours and the published examples', in turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.bars import Bar, at_most
from benchmarks.bases import copy_base
from benchmarks.learning_step.examples import custom_diffusion, dreambooth, dreambooth_lora
from benchmarks.learning_step.lesson import make_lesson
from benchmarks.learning_step.published import Precision, PublishedStep
from benchmarks.machine import peak_of_tensors
from benchmarks.markdown import make_table
from benchmarks.performance.record import Told
from benchmarks.timing import alternate, medians, times_as_long
from cns.base_model import BaseModel
from cns.compose import compose
from cns.learning import LearningRun
from cns.settings import LearningSettings

OURS, OURS_CHECKPOINTED, OURS_HALF = "ours", "ours, gradient checkpointing", "ours, base in bfloat16"
WRITTEN_OUT = ", attention written out"
MOST_OF_TIME, MOST_OF_MEMORY = 0.8, 0.7
ENOUGH = 1_000_000  # steps that no measurement reaches


@dataclass(frozen=True)
class Plan:
    """mixed: the UNet in bfloat16, ours and theirs. steps: of each way in each round."""

    batch: int = 16
    rounds: int = 5
    steps: int = 3
    mixed: bool = True


QUICK = Plan(batch=4, rounds=1, steps=1)

Step = Callable[[], float]


def measure(base: BaseModel, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of `plan.steps` steps of each way in every round, and the bytes that it held at most beyond its base.

    prepared_bytes: the most that it held before its first step, which may be the most of all.

    Memory counts from when a way's own copy of the base is there, so that the base is nobody's; ours includes what is
    prepared before the first step, theirs needs nothing prepared. It is what tensors held, on a CPU as on a GPU.
    """
    held: dict[str, int | None] = {}
    prepared: dict[str, int | None] = {}
    steps: dict[str, Step] = {}
    for name, open_way in _ways(base, plan).items():
        say(f"memory of {name}")
        open_way()()()  # whatever a first step makes for the whole process, kernels and pools, is nobody's memory
        opened = open_way()
        with peak_of_tensors(base.device) as before_steps:
            opened()
        opened = open_way()
        with peak_of_tensors(base.device) as peak:
            step = opened()
            for _ in range(2):  # the second one has the optimiser's state already
                step()
        held[name], prepared[name], steps[name] = peak.extra_bytes, before_steps.extra_bytes, step
    say(f"{plan.rounds} rounds")

    def repeat(step: Step) -> None:
        for _ in range(plan.steps):
            step()

    seconds = alternate({name: partial(repeat, step) for name, step in steps.items()}, plan.rounds, base.device)
    return {"side_px": base.native_px, "seconds": seconds, "held_bytes": held, "prepared_bytes": prepared}


def _ways(base: BaseModel, plan: Plan) -> dict[str, Callable[[], Callable[[], Step]]]:
    """Name -> opens it, which gives what prepares its step. Only the second is counted as memory."""
    lesson = make_lesson(base)
    precision = Precision(torch.bfloat16 if plan.mixed else base.dtype, plan.mixed)

    def our(checkpointing: bool = False, dtype: torch.dtype | None = None) -> Callable[[], Step]:
        own = base if dtype is None else copy_base(base, dtype)

        def begin() -> Step:
            settings = LearningSettings(
                steps=ENOUGH, batch=plan.batch, mixed_precision=plan.mixed, gradient_checkpointing=checkpointing
            )
            return LearningRun(own, compose(own), lesson.concept, settings).step

        return begin

    def published(make: Callable[..., PublishedStep], **options: bool) -> Callable[[], Step]:
        loop = make(base, lesson, plan.batch, precision, **options)
        return lambda: loop.step

    ways: dict[str, Callable[[], Callable[[], Step]]] = {
        OURS: our,
        OURS_CHECKPOINTED: partial(our, checkpointing=True),
    }
    if plan.mixed:
        ways[OURS_HALF] = partial(our, dtype=torch.bfloat16)
    for fused in (True,) if base.device.type == "cuda" else (True, False):
        kind = "" if fused else WRITTEN_OUT
        ways[f"dreambooth{kind}"] = partial(published, dreambooth, fused=fused)
        ways[f"dreambooth_lora{kind}"] = partial(published, dreambooth_lora, fused=fused)
        ways[f"dreambooth_lora, text ahead{kind}"] = partial(published, dreambooth_lora, fused=fused, text_ahead=True)
        ways[f"custom_diffusion{kind}"] = partial(published, custom_diffusion, fused=fused)
    return ways


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> Told:
    """How our step stands beside the fastest and the smallest of theirs."""
    seconds = {name: value / plan["steps"] for name, value in medians(figures["seconds"]).items()}
    held = figures["held_bytes"]
    theirs = [name for name in seconds if not name.startswith(OURS)]
    published = min((name for name in theirs if not name.endswith(WRITTEN_OUT)), key=seconds.__getitem__)
    fastest = min(theirs, key=seconds.__getitem__)
    sentences = [
        f"A step of {plan['batch']} pictures of {figures['side_px']} px takes {seconds[OURS]:.3f} s, and "
        f"{seconds[published]:.3f} s as `{published}`, the fastest of the published examples"
        f"{', all with the UNet in bfloat16' if plan['mixed'] else ''}. *Text ahead* is the example's own option "
        "`pre_compute_text_embeddings`. Memory is the most that tensors held beyond the base."
    ]
    if any(name.endswith(WRITTEN_OUT) for name in theirs):
        sentences.append(
            "Each is measured with attention written out as well, as diffusers' own choice is slow backwards on a CPU: "
            f"with that change, which ours has, the fastest of them is `{fastest}` at {seconds[fastest]:.3f} s. Nearly "
            "all of a step is then the same UNet, forwards and backwards, in theirs and in ours."
        )
    if OURS_HALF in seconds:
        sentences.append(
            "The service keeps the base in the dtype it was loaded in and rounds it anew in every step, forwards and "
            "backwards, which takes time; the examples round what they do not train once, at the start. *Base in "
            "bfloat16* is ours on a base that was rounded once too."
        )
    rows = [
        (
            name,
            seconds[name],
            seconds[name] / seconds[OURS],
            _megabytes(held[name]),
            _megabytes(figures["prepared_bytes"][name]),
        )
        for name in seconds
    ]
    table = make_table(("a step", "s", "times ours", "MB above the base", "before the first step"), rows)
    return Told(tuple(sentences), (table,), tuple(_bars(figures, tuple(dict.fromkeys((published, fastest))))))


def _bars(figures: Mapping[str, Any], yardsticks: Sequence[str]) -> list[Bar]:
    """Of ours as it is served, and where the examples round the base, of ours on a base that is rounded too.

    yardsticks: the fastest example as it was published, and the fastest of all where our own change made it faster.
    """
    return [
        bar
        for ours in (OURS, OURS_HALF)
        if ours in figures["seconds"]
        for theirs in yardsticks
        for bar in (_time_bar(figures, ours, theirs), _memory_bar(figures, ours, theirs))
    ]


def _time_bar(figures: Mapping[str, Any], ours: str, fastest: str) -> Bar:
    name = f"seconds of a learning step, {ours}, as a share of the fastest one's, `{fastest}`"
    return at_most(name, times_as_long(figures["seconds"], ours, fastest), MOST_OF_TIME)


def _memory_bar(figures: Mapping[str, Any], ours: str, fastest: str) -> Bar:
    name = f"memory of a learning step above the base, {ours}, as a share of that of `{fastest}`"
    held, theirs = figures["held_bytes"][ours], figures["held_bytes"][fastest]
    if held is None or not theirs:
        return Bar(name, None, MOST_OF_MEMORY, holds=False)
    return at_most(name, held / theirs, MOST_OF_MEMORY)


def _megabytes(number: int | None) -> object:
    return "not measured" if number is None else number / 1e6
