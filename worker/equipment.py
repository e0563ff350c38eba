"""What a worker works with: the base model and what lies in its folder beside it. Loaded once."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from app.config import Settings
from cns.base_model import BaseModel, load_base
from cns.captions import Captioner, RetrievalCaptioner, TemplateCaptioner
from cns.diagnosis import Thresholds
from cns.errors import CnsError
from cns.examination import ExaminationSettings
from cns.judge import ImageEncoder, Judge, load_judge
from cns.own_settings import (
    GenerationSettings,
    UsualSettings,
    load_generation_settings,
    load_thresholds,
    load_usual_settings,
)
from cns.phrases import load_calibration_prompts, load_generic_prompts
from cns.preview import LatentPreview, fit_preview
from cns.samplers import SAMPLERS
from cns.settings import LearningSettings
from cns.wording import MANNERS
from storybook import MODEL_FOLDER
from storybook.likeness import find_likeness

EMBEDDED = "storybook"
SMALL_PX = 128  # up to here a base's pictures are shown enlarged without blurring
LARGE_PX = 256


@dataclass(frozen=True)
class Equipment:
    """judge: a CLIP in clip/ of the base's folder; None: nothing is examined, and captions come from the template."""

    base: BaseModel
    name: str
    source: str
    judge: Judge | None
    likeness: ImageEncoder | None
    captioner: Captioner
    calibration: tuple[str, ...]
    generic_prompts: tuple[str, ...]
    usual: UsualSettings
    preview: LatentPreview
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    examination: ExaminationSettings = field(default_factory=ExaminationSettings)
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def learning(self) -> LearningSettings:
        """What is learned with where nobody says otherwise."""
        return self.usual.own

    @property
    def size_step_px(self) -> int:
        """Sides of generated pictures are multiples of this."""
        levels = len(self.base.unet.config.block_out_channels)
        return int(self.base.vae_scale * 2 ** (levels - 1))

    def facts(self) -> dict[str, Any]:
        """What pages and REST need to know of the base without loading it."""
        return {
            "name": self.name,
            "native_px": self.base.native_px,
            "size_step_px": self.size_step_px,
            "samplers": list(SAMPLERS),
            **asdict(self.generation),
            "pixelated": self.base.native_px <= SMALL_PX,
            "learning": asdict(self.learning),  # all of them: a page shows what is taken where nothing is typed
            "manners": {noun: list(frame) for noun, frame in MANNERS.items()},
            "own_tokens": sorted(token.strip("<>") for token in self.base.own_tokens),
        }


def load_equipment(settings: Settings) -> Equipment:
    """The base of the settings on their device. Raises CnsError with a sentence for whoever starts the worker."""
    embedded = settings.base_model == EMBEDDED
    source = str(MODEL_FOLDER) if embedded else settings.base_model
    device = choose_device(settings.device)
    # A base of the usual sizes is published in half precision and twice as fast in it; the embedded one is so small
    # that it gains nothing, and in float32 its pictures are the same ones on every device but for the last bits.
    half = device.type == "cuda" and not embedded
    if device.type == "cuda" and not half:
        # Torch lets convolutions of float32, unlike matrix products, be rounded to ten bits there: a thousandth.
        torch.backends.cudnn.allow_tf32 = False
    base = load_base(source, device=device, dtype=torch.float16 if half else torch.float32)
    folder = Path(source) if Path(source).is_dir() else None
    generation = load_generation_settings(folder)
    judge = load_judge(folder / "clip", device) if folder is not None and (folder / "clip").is_dir() else None
    return Equipment(
        base=base,
        name=EMBEDDED if embedded else Path(source).name.removesuffix(".safetensors"),
        source=settings.base_model,
        judge=judge,
        likeness=find_likeness(folder) if folder is not None else None,
        captioner=RetrievalCaptioner.of_base(judge, folder) if judge is not None else TemplateCaptioner(),
        calibration=load_calibration_prompts(folder),
        generic_prompts=load_generic_prompts(folder),
        usual=usual_settings(base, folder),
        preview=fit_preview(base),
        generation=generation,
        examination=ExaminationSettings(guidance=generation.guidance),
        thresholds=load_thresholds(folder),
    )


def usual_settings(base: BaseModel, folder: Path | None = None) -> UsualSettings:
    """The method's settings, large pictures with less memory as few GPUs hold more; the base's own overrule."""
    return load_usual_settings(folder, LearningSettings(gradient_checkpointing=base.native_px >= LARGE_PX))


def choose_device(wanted: str) -> torch.device:
    """The device asked for, else a GPU where there is one."""
    name = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise CnsError(f"The device {name} cannot be used here.") from error
    return torch.device(name)


def merge_settings(usual: UsualSettings, changes: dict[str, Any]) -> LearningSettings:
    """The base's own settings with what a user asked for instead. UnknownSetting for what does not exist."""
    given = {name: value for name, value in changes.items() if value is not None}
    return usual.with_changes(given)
