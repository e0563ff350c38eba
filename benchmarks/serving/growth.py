"""Growth: concept after concept in one history, a few steps each, and what everything costs along the way."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

from benchmarks.bars import Bar, at_most
from benchmarks.learning_step.lesson import PLACES, make_lesson
from benchmarks.machine import held_bytes
from benchmarks.markdown import make_table
from benchmarks.performance.record import Told
from benchmarks.serving.ours import Ours, rows_of
from benchmarks.serving.shapes import SD15, base_of_kv, kv_shapes, sd15_unet
from benchmarks.serving.tenants import SHARE, scatter_values
from benchmarks.svg import Line, line_chart
from benchmarks.timing import take_time
from cns.base_model import BaseModel
from cns.compose import Version, compose, extend
from cns.delta import Delta
from cns.denoise import GenerationRequest
from cns.learning import Concept, LearningRun
from cns.settings import LearningSettings

CURVES = {
    "learning_s": ("seconds to learn a concept", "s"),
    "composing_on_s": ("composing the version on the one before", "s"),
    "composing_s": ("composing the version from the base alone", "s"),
    "generation_s": ("a picture", "s"),
    "held_bytes": ("memory held", "bytes"),
    "stored_bytes": ("bytes of the history", "bytes"),
}
FLAT = 1.25
"""The mean of the last tenth against the first's: more is growth, less is what a shared machine scatters."""
LINEAR = 1.05
TRIES = 9
"""Of each composing, as one takes less than a shared machine may be away for."""
MOST_COMPOSING_S, MOST_COMPOSING_SD15_S = 0.1, 1.0


@dataclass(frozen=True)
class Plan:
    """learned: steps of each learning. steps: of a picture. sd15_versions: deltas composed at SD 1.5's shape."""

    concepts: int = 100
    learned: int = 4
    batch: int = 4
    steps: int = 8
    guidance: float = 4.0
    sd15_versions: int = 100


QUICK = Plan(concepts=10, learned=1, batch=2, steps=2, sd15_versions=5)


def measure(base: BaseModel, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """One number for each concept of every curve, and the seconds of composing at Stable Diffusion 1.5's shape."""
    lesson = make_lesson(base, count=3)
    settings = LearningSettings(steps=plan.learned, batch=plan.batch)
    asked = GenerationRequest("a photo of a dog on the grass", steps=plan.steps, guidance=plan.guidance)
    ours, version, deltas = Ours(base, rows_of(asked)), compose(base), list[Delta]()
    curves: dict[str, list[float]] = {name: [] for name in CURVES}
    for number in range(plan.concepts):
        before, begun = version, time.perf_counter()
        deltas.append(_learn(base, before, _concept(number, lesson.concept), settings))
        curves["learning_s"].append(time.perf_counter() - begun)
        for name, work in (
            ("composing_s", lambda: compose(base, deltas)),
            ("composing_on_s", lambda: extend(base, before, deltas[-1:])),  # noqa: B023 - called at once
        ):
            curves[name].append(median(take_time(work, base.device) for _ in range(TRIES)))
        version = extend(base, before, deltas[-1:])
        named = GenerationRequest(
            asked.prompt.replace("dog", f"<c{number}> dog"), steps=plan.steps, guidance=plan.guidance
        )
        whole = take_time(lambda: ours.paint([lambda: version], [named]), base.device)  # noqa: B023
        curves["generation_s"].append(whole)
        curves["held_bytes"].append(held_bytes(base.device))
        curves["stored_bytes"].append(sum(len(delta.to_bytes()) for delta in deltas))
        if (number + 1) % 10 == 0:
            say(f"{number + 1} concepts")
    return {"curves": curves, "composing_sd15_s": compose_sd15(plan.sd15_versions, say)}


def _learn(base: BaseModel, below: Version, concept: Concept, settings: LearningSettings) -> Delta:
    run = LearningRun(base, below, concept, settings)
    while not run.done:
        run.step()
    return run.finish()


def _concept(number: int, like: Concept) -> Concept:
    """The same pictures under another name: what is learned is not the point here."""
    captions = tuple(f"a photo of a <c{number}> dog {PLACES[n % len(PLACES)]}" for n in range(len(like.pictures)))
    return Concept(f"c{number}", "dog", like.pictures, captions)


def compose_sd15(count: int, say: Callable[[str], None]) -> list[float]:
    """Seconds that composing `count` deltas takes, in three tries.

    At most sixteen are different, and come again under other names: a hundred would only fill memory.
    """
    base = base_of_kv(kv_shapes(sd15_unet()))
    say(f"composing {count} versions at {SD15}")
    made = [scatter_values(base.kv_weights, base.id, f"d{n}", n, SHARE, ()) for n in range(min(16, count))]
    deltas = [replace(made[number % len(made)], concept=f"d{number}") for number in range(count)]
    return [take_time(lambda: compose(base, deltas), base.device) for _ in range(3)]


# --- in words -------------------------------------------------------------------------------------------------------


def growth_of(curve: Sequence[float]) -> float:
    """The mean of the last tenth as a multiple of the first tenth's."""
    tenth = max(1, len(curve) // 10)
    return mean(curve[-tenth:]) / mean(curve[:tenth])


def added(stored: Sequence[float]) -> list[float]:
    """What each concept added to the bytes stored."""
    return [after - before for before, after in zip([0.0, *stored], stored)]


def report(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> Told:
    """Which curves are flat, and how long composing takes at the end."""
    curves, last = figures["curves"], plan["concepts"]
    rows = []
    for name, (said, unit) in CURVES.items():
        curve = curves[name]
        scale, shown = (1e6, "MB") if unit == "bytes" else (1.0, unit)
        tenth = max(1, len(curve) // 10)
        rows.append((f"{said}, {shown}", mean(curve[:tenth]) / scale, mean(curve[-tenth:]) / scale, growth_of(curve)))
    sentence = (
        f"{last} concepts were learned one after another, {plan['learned']} steps each. Composing version {last} on "
        f"the one before takes {1000 * curves['composing_on_s'][-1]:.1f} ms, as the last delta alone is written; it "
        f"gives the same weights to the bit. Where nothing of its line is at hand, as after a start, all deltas are "
        f"written over the base's: that grows, and takes {1000 * curves['composing_s'][-1]:.1f} ms here, and "
        f"{median(figures['composing_sd15_s']):.2f} s for {plan['sd15_versions']} deltas at {SD15}."
    )
    table = make_table(("", "first tenth", "last tenth", "times"), rows)
    return Told((sentence,), (table,), tuple(_bars(figures, plan)), _charts(curves))


def _bars(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> list[Bar]:
    curves = figures["curves"]
    bars = [
        at_most(f"{said}, last tenth against first", growth_of(curves[name]), FLAT)
        for name, (said, _) in CURVES.items()
        if name not in ("stored_bytes", "composing_s")
    ]
    bars += [
        at_most(
            "bytes that a concept adds, last tenth against first", growth_of(added(curves["stored_bytes"])), LINEAR
        ),
        at_most(
            f"composing version {plan['concepts']} from the base alone, s", curves["composing_s"][-1], MOST_COMPOSING_S
        ),
        at_most(
            f"composing version {plan['sd15_versions']} from the base alone at {SD15}, s",
            median(figures["composing_sd15_s"]),
            MOST_COMPOSING_SD15_S,
        ),
    ]
    return bars


def _charts(curves: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """One chart of what should be flat, each curve as a multiple of its beginning; one of the bytes."""
    lines = []
    for name in ("learning_s", "composing_on_s", "composing_s", "generation_s", "held_bytes"):
        curve = curves[name]
        start = mean(curve[: max(1, len(curve) // 10)])
        lines.append(Line(CURVES[name][0], [(place + 1, value / start) for place, value in enumerate(curve)]))
    stored = Line("stored", [(place + 1, value / 1e6) for place, value in enumerate(curves["stored_bytes"])])
    return {
        "growth": line_chart(
            lines, title="Cost against its beginning", x_label="concepts learned", y_label="times the first tenth"
        ),
        "growth-bytes": line_chart(
            [stored], title="Bytes of the whole history", x_label="concepts learned", y_label="MB"
        ),
    }
