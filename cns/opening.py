"""What commands work with: the base, the judge and the captioner that a person has named, or what is there."""

import os
from enum import StrEnum
from pathlib import Path

import torch

from cns.base_model import BaseModel, load_base
from cns.captions import BlipCaptioner, Captioner, RetrievalCaptioner, TemplateCaptioner
from cns.errors import CnsError
from cns.history_folder import HistoryFolder
from cns.judge import Judge, load_judge

SHIPPED_BASE = Path(__file__).resolve().parents[1] / "storybook" / "model"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class CaptionerName(StrEnum):
    template = "template"
    retrieval = "retrieval"
    blip = "blip"


def open_base(
    history: Path, wanted: str | None, config: str | None, device: str, dtype: str
) -> tuple[BaseModel, str, str | None]:
    """The base, where it came from, and for a checkpoint what describes it; BaseOption says where it is looked for."""
    if dtype not in DTYPES:
        raise CnsError(f"There is no dtype {dtype} here; choose one of {', '.join(DTYPES)}.")
    check_device(device)
    recorded, described = recorded_base(history)
    if wanted is None and recorded is not None:
        wanted, config = recorded, config or described
    source = absolute(wanted or os.environ.get("BASE_MODEL") or str(SHIPPED_BASE))
    described = None if config is None else absolute(config)
    return load_base(source, device=device, dtype=DTYPES[dtype], config=described), source, described


def absolute(source: str) -> str:
    """A path that holds from any working folder; a hub id as it is."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def check_device(device: str) -> None:
    """Raise a sentence for a device that torch cannot use here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise CnsError(f"The device {device} cannot be used here.") from error


def recorded_base(history: Path) -> tuple[str | None, str | None]:
    """Source and configuration of an existing history's base, unless that was a path which is no longer there."""
    if not (history / "history.json").exists():
        return None, None
    known = HistoryFolder.open(history).history
    gone = Path(known.base_source).is_absolute() and not Path(known.base_source).exists()
    return (None, None) if gone else (known.base_source, known.base_config)


def open_judge(base_source: str, wanted: str | None, device: str) -> Judge | None:
    """The CLIP asked for, else the one in the base's folder, else None."""
    beside = Path(base_source) / "clip"
    if wanted is None and not beside.is_dir():
        return None
    return load_judge(wanted or beside, device)


def choose_captioner(
    name: CaptionerName, judge: Judge | None, blip: str | None, base_source: str, device: str
) -> Captioner:
    if name is CaptionerName.blip:
        if blip is None:
            raise CnsError("Captions by BLIP need its weights: name their folder or hub id with --blip.")
        return BlipCaptioner(blip, device)
    if name is CaptionerName.retrieval:
        if judge is None:
            raise CnsError("Captions by retrieval need a CLIP model, and there is none beside this base: use --judge.")
        return RetrievalCaptioner.of_base(judge, base_source)
    return TemplateCaptioner()
