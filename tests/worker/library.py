"""What the library makes of the same inputs, without any service around it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.captions import Captioner, TemplateCaptioner
from cns.compose import compose
from cns.delta import Delta
from cns.learning import Concept, LearningRun
from cns.teaching import Lesson, write_captions
from tests.tiny_clip import random_pictures
from tests.worker.world import QUICK
from worker.equipment import Equipment, merge_settings

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2}
"""Of a pixel in 0..1: what another batch makes of a picture. A GPU's worker has its base in half precision."""


def assert_close(base: BaseModel, made: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(made, expected, strict=True):
        assert (one - other).abs().max() < TOLERANCE[base.dtype]


def build_run(
    equipment: Equipment,
    name: str,
    noun: str,
    before: tuple[Delta, ...] = (),
    captioner: Captioner | None = None,
    **changes: Any,
) -> LearningRun:
    """The run of what `World.learning` is about, as `cns.teaching.teach` builds it."""
    lesson = Lesson(name, noun, tuple(random_pictures(3, seed=len(name))))
    captions = write_captions(lesson, captioner or TemplateCaptioner())
    return LearningRun(
        equipment.base,
        compose(equipment.base, before),
        Concept(name, noun, lesson.pictures, captions),
        merge_settings(equipment.usual, {**QUICK, **changes}),
        calibration=equipment.calibration,
    )


def learn_alone(
    equipment: Equipment,
    name: str,
    noun: str,
    before: tuple[Delta, ...] = (),
    captioner: Captioner | None = None,
    **changes: Any,
) -> Delta:
    """The delta of one uninterrupted learning of that."""
    run = build_run(equipment, name, noun, before, captioner, **changes)
    while not run.done:
        run.step()
    return run.finish()
