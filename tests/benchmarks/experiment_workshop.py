"""A workshop of tiny models with random weights, in which the experiments run in seconds and mean nothing."""

from dataclasses import replace
from pathlib import Path

from benchmarks.experiments.measuring import Workshop
from cns.base_model import BaseModel
from cns.captions import TemplateCaptioner
from cns.judge import load_judge
from cns.own_settings import GenerationSettings, UsualSettings
from cns.settings import LearningSettings, SelectionSettings
from tests.tiny_clip import build_clip

GENERAL = ("a red dog", "a blue robot at night", "the cat on grass", "a mug next to the house")


def build_workshop(base: BaseModel, folder: Path) -> Workshop:
    """Everything it makes lies in `folder`. Judged by a tiny CLIP alone."""
    settings = LearningSettings(
        batch=2, lr_weights=1e-2, mixed_precision=False, selection=SelectionSettings(general_prompts=2)
    )
    clip = load_judge(build_clip(folder / "clip"))
    return Workshop(
        base=base,
        usual=UsualSettings(settings, {"everywhere": settings, "token": replace(settings, reach="token")}),
        clip=clip,
        likeness=clip,
        captioner=TemplateCaptioner(),
        calibration=GENERAL * 10,
        generic=GENERAL[:2],
        deltas=folder / "deltas",
        drawing=GenerationSettings(steps=2),
        seeds=1,
        quick=True,
    )
