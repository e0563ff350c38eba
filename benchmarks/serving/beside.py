"""Learning beside generating: how long somebody waits for a picture while others' learnings run.

Ours is the worker's engine, at its default share. The peer is a queue that runs one job at a time: whoever asks for a
picture while learnings wait gets it after them. Its learnings are as short as the plan says; real ones are longer.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchmarks.bars import at_most
from benchmarks.learning_step.lesson import make_lesson
from benchmarks.markdown import make_table
from benchmarks.performance.record import Told
from benchmarks.serving.ours import Ours, rows_of
from benchmarks.serving.tenants import PROMPT
from benchmarks.timing import quantile
from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.denoise import GenerationRequest
from cns.learning import LearningRun
from cns.settings import LearningSettings
from worker.engine import Engine
from worker.orders import Order

ENOUGH = 1_000_000  # steps that no measurement reaches
MOST_OF_IDLE = 2.5


@dataclass(frozen=True)
class Plan:
    """learnings: how many run, one number a condition. requests: pictures of each condition in each round.

    batch: of a learning's step. job_steps: steps of a learning in the queue that runs one job at a time.
    """

    learnings: tuple[int, ...] = (0, 1, 4)
    requests: int = 10
    steps: int = 25
    guidance: float = 4.0
    batch: int = 16
    job_steps: int = 20
    rounds: int = 3


QUICK = Plan(learnings=(0, 1), requests=2, steps=4, batch=4, job_steps=2, rounds=1)


def measure(base: BaseModel, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of every picture by condition, ours and the queue's, and the steps a second of the learnings."""
    runs = _begin_learnings(base, plan, max(plan.learnings))
    version, alone = compose(base), Ours(base, rows_of(_asked(plan)))
    for run in runs:
        run.step()
    alone.paint([lambda: version], [_asked(plan)])
    found: dict[str, dict[str, list[float]]] = {"ours": {}, "queue": {}, "learning_alone": {}, "learning_beside": {}}
    for number in range(plan.rounds):
        say(f"round {number + 1} of {plan.rounds}")
        for count in plan.learnings:
            waits, pace = ask_engine(base, version, plan, runs[:count])
            found["ours"].setdefault(str(count), []).extend(waits)
            found["queue"].setdefault(str(count), []).append(ask_queue(alone, version, plan, runs[:count]))
            if count:
                found["learning_beside"].setdefault(str(count), []).append(pace)
                found["learning_alone"].setdefault(str(count), []).append(learn_alone(base, plan, runs[:count]))
    return found


def _begin_learnings(base: BaseModel, plan: Plan, count: int) -> list[LearningRun]:
    concept = make_lesson(base).concept
    settings = LearningSettings(steps=ENOUGH, batch=plan.batch)
    return [LearningRun(base, compose(base), concept, replace(settings, seed=number)) for number in range(count)]


def _asked(plan: Plan) -> GenerationRequest:
    return GenerationRequest(PROMPT, steps=plan.steps, guidance=plan.guidance)


def ask_engine(base: BaseModel, version: Version, plan: Plan, runs: Sequence[LearningRun]) -> tuple[list[float], float]:
    """Seconds of each picture, one asked for after the other, and the learnings' steps a second meanwhile."""
    waits = []
    with engine_with(base, runs) as engine:
        before, begun = sum(run.steps_done for run in runs), time.perf_counter()
        for _ in range(plan.requests):
            order = Order(lambda: version, [_asked(plan)])
            asked = time.perf_counter()
            engine.ask(order)
            order.finished.wait()
            order.pictures()
            waits.append(time.perf_counter() - asked)
        steps, whole = sum(run.steps_done for run in runs) - before, time.perf_counter() - begun
    return waits, steps / whole


def learn_alone(base: BaseModel, plan: Plan, runs: Sequence[LearningRun]) -> float:
    """The learnings' steps a second while nobody asks for a picture, over as many steps as the queue's jobs have."""
    left = [plan.job_steps] * len(runs)
    with engine_with(base, ()) as engine:
        before, begun = sum(run.steps_done for run in runs), time.perf_counter()

        def more(place: int) -> bool:
            left[place] -= 1
            return left[place] > 0

        waiting = [
            engine.turns(run.step, lambda place=place: more(place))  # type: ignore[misc]
            for place, run in enumerate(runs)
        ]
        for done in waiting:
            done.result()
        return (sum(run.steps_done for run in runs) - before) / (time.perf_counter() - begun)


def ask_queue(ours: Ours, version: Version, plan: Plan, runs: Sequence[LearningRun]) -> float:
    """Seconds of a picture that stands behind a learning of each of `runs`, which take their turns whole."""
    asked = time.perf_counter()
    for run in runs:
        for _ in range(plan.job_steps):
            run.step()
    ours.paint([lambda: version], [_asked(plan)])
    return time.perf_counter() - asked


@contextmanager
def engine_with(base: BaseModel, runs: Sequence[LearningRun]) -> Iterator[Engine]:
    """The worker's engine at work, learning on and on as long as the block runs."""
    engine, over = Engine(base), threading.Event()
    learning = [engine.turns(run.step, lambda: not over.is_set()) for run in runs]
    engine.start()
    try:
        yield engine
    finally:
        over.set()
        for done in learning:
            done.result()
        engine.stop()


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> Told:
    """How much longer a picture takes beside learnings, and what the learnings lose."""
    ours, queue = figures["ours"], figures["queue"]
    idle = quantile(ours["0"], 0.95)
    rows = []
    for count, waits in ours.items():
        slower: object = ""
        if count in figures["learning_beside"]:
            slower = median(figures["learning_alone"][count]) / median(figures["learning_beside"][count])
        rows.append(
            (
                count,
                quantile(waits, 0.5),
                quantile(waits, 0.95),
                slower,
                quantile(queue[count], 0.5),
                quantile(queue[count], 0.95),
            )
        )
    most = max(ours, key=int)
    sentence = (
        f"A picture of {plan['steps']} steps takes {idle:.2f} s (p95) while nothing is learned, and "
        f"{quantile(ours[most], 0.95):.2f} s beside {most} learning{'s' if int(most) > 1 else ''} of batch "
        f"{plan['batch']}. In a queue that runs one job at a time it takes {quantile(queue[most], 0.95):.2f} s, with "
        f"learnings of {plan['job_steps']} steps only. Half of the device is the learnings' share, so that a picture "
        "takes twice as long, and the step that a learning is at when the picture is asked for comes on top: "
        f"{1 / median(figures['learning_alone'][most]):.2f} s each."
    )
    heads = ("learnings", "p50, s", "p95, s", "learning slower, times", "one job at a time: p50, s", "p95, s")
    bars = [
        at_most(
            f"p95 of a picture beside {count} learning{'s' if int(count) > 1 else ''}, against idle",
            quantile(waits, 0.95) / idle,
            MOST_OF_IDLE,
        )
        for count, waits in ours.items()
        if count != "0"
    ]
    return Told((sentence,), (make_table(heads, rows),), tuple(bars))
