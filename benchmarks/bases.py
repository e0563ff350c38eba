"""The base that a benchmark runs on, by name: the storybook, a folder, or a public architecture with random weights."""

import copy
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.sd15_shape import random_sd15
from benchmarks.sdxl_shape import random_sdxl
from cns.base_model import BaseModel, load_base
from cns.components import Components, quiet
from storybook import MODEL_FOLDER

STORYBOOK = "storybook"
SHAPES: MappingProxyType[str, Callable[[], Any]] = MappingProxyType(
    {"sd15-shape": random_sd15, "sdxl-shape": random_sdxl}
)
"""Architectures whose weights are random: what is measured on them is size and speed, and nothing about pictures."""


def open_base(name: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> BaseModel:
    """name: `storybook`, one of SHAPES, or whatever `load_base` takes. Weights of a shape are drawn on the device."""
    if name not in SHAPES:
        return load_base(MODEL_FOLDER if name == STORYBOOK else name, device=device, dtype=dtype)
    with torch.random.fork_rng(devices=[]), torch.device(device), quiet():
        pipeline = SHAPES[name]()
    return base_of(pipeline, device, dtype)


def copy_base(base: BaseModel, dtype: torch.dtype) -> BaseModel:
    """The same base in another dtype, with nothing in common in memory."""
    components = Components(
        unet=copy.deepcopy(base.unet),
        vae=copy.deepcopy(base.vae),
        text_encoders=tuple(copy.deepcopy(encoder) for encoder in base.text_encoders),
        tokenizers=base.tokenizers,
        scheduler_config=dict(base.scheduler_config),
        zeros_for_no_words=base.zeros_for_no_words,
    )
    return BaseModel(components, device=base.device, dtype=dtype)


def base_of(pipeline: Any, device: str | torch.device, dtype: torch.dtype) -> BaseModel:
    """A base of a pipeline's own parts, which move to the device."""
    places = [place for place in ("", "_2") if getattr(pipeline, f"text_encoder{place}", None) is not None]
    components = Components(
        unet=pipeline.unet,
        vae=pipeline.vae,
        text_encoders=tuple(getattr(pipeline, f"text_encoder{place}") for place in places),
        tokenizers=tuple(getattr(pipeline, f"tokenizer{place}") for place in places),
        scheduler_config=dict(pipeline.scheduler.config),
    )
    return BaseModel(components, device=device, dtype=dtype)
