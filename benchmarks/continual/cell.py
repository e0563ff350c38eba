"""One cell of the benchmark: one method learns one stream with one seed, and is judged after every concept."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, cast

from PIL import Image

from benchmarks.continual.album import Album, join_tiles, sheet_tiles
from benchmarks.continual.judging import Jury
from benchmarks.continual.method import Budget, JointLearner, Learner, Lesson, Method, Painter
from benchmarks.continual.painted import Painted
from benchmarks.machine import peak_memory
from cns.base_model import BaseModel
from cns.teaching import OnProgress, no_progress


def run_cell(
    method: Method,
    base: BaseModel,
    jury: Jury,
    budget: Budget,
    options: Mapping[str, float],
    *,
    only_the_end: bool = False,
    on_progress: OnProgress = no_progress,
) -> tuple[list[dict[str, Any]], Image.Image]:
    """Run it whole; returns its stages, for JSON, and a strip of a few pictures of the last one.

    A stage is {learned, cost, peak_extra_bytes, judging_seconds, concepts, generic, compositions}: one after every
    concept, or a single one with `only_the_end`. Joint methods and bounds have one, as nothing comes before their end.
    """
    lessons = [concept.lesson for concept in jury.stream.concepts]
    learner = method.start(base, budget, options)
    stages: list[dict[str, Any]] = []
    album, painted = None, Painted()
    for place, group in enumerate(_groups(method, lessons)):
        joint = method.kind == "joint"
        with peak_memory(base.device) as peak:
            if joint:
                cost = cast(JointLearner, learner).learn_all(group, partial(on_progress, "learning all concepts"))
            else:
                cost = cast(Learner, learner).learn(group[0], partial(on_progress, f"learning {group[0].name}"))
        names = [lesson.name for lesson in (lessons if joint else lessons[: place + 1])]
        stage: dict[str, Any] = {
            "learned": [lesson.name for lesson in group],
            "cost": asdict(cost),
            "peak_extra_bytes": peak.extra_bytes,
        }
        if len(names) == len(lessons) or not (only_the_end or method.kind == "bound"):
            figures, album = _judge(jury, learner.painter(), names, painted, on_progress)
            stage |= figures
        stages.append(stage)
    if album is None:
        raise ValueError("A stream without concepts cannot be learned.")
    return stages, join_tiles(sheet_tiles(jury.stream, jury.asking, album))


def _groups(method: Method, lessons: list[Lesson]) -> list[list[Lesson]]:
    """What is learned together: everything by a joint method, else each for itself."""
    return [lessons] if method.kind == "joint" else [[lesson] for lesson in lessons]


def _judge(
    jury: Jury, painter: Painter, names: list[str], painted: Painted, on_progress: OnProgress
) -> tuple[dict[str, Any], Album]:
    started = time.monotonic()
    figures, album = jury.judge(painter, names, partial(on_progress, "painting"), painted)
    return {"judging_seconds": round(time.monotonic() - started, 2), **figures}, album
