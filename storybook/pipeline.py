"""The shipped folder as the stock diffusers pipeline, and pictures made by it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

STEPS, GUIDANCE = 25, 4.0


def load_pipeline(folder: Path) -> StableDiffusionPipeline:
    """The stock pipeline over a base's folder, in float32, with DDIM."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, dtype=torch.float32, low_cpu_mem_usage=False
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate_pictures(
    pipeline: StableDiffusionPipeline, texts: Sequence[str], seed: int, batch: int = 50
) -> list[np.ndarray]:
    """One 64 px picture (64, 64, 3) uint8 for each text, picture i from seed + i."""
    pictures: list[np.ndarray] = []
    for start in range(0, len(texts), batch):
        part = list(texts[start : start + batch])
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        made = pipeline(
            part, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generators, output_type="np"
        )
        pictures += [(picture * 255).round().astype(np.uint8) for picture in made.images]
    return pictures
