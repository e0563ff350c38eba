"""Scenes drawn ahead of training, so that a step waits for no drawing. All cores draw; the result depends on the seed
alone.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from storybook.world import Scene, draw, random_scene

CHUNK = 256
Sampler = Callable[[np.random.Generator], list[Scene]]  # one call gives one group of scenes


def one_scene(rng: np.random.Generator) -> list[Scene]:
    """One random scene as a group of one."""
    return [random_scene(rng)]


def _draw_chunk(sampler: Sampler, seed: int, chunk: int, groups: int) -> tuple[list[Scene], np.ndarray]:
    rng = np.random.default_rng((seed, chunk))
    scenes = [scene for _ in range(groups) for scene in sampler(rng)]
    return scenes, np.stack([draw(scene) for scene in scenes])


def draw_pool(sampler: Sampler, groups: int, seed: int, workers: int = 2) -> tuple[list[Scene], Tensor]:
    """Draw `groups` groups of scenes.

    returns  the scenes in order, and their pictures (n, 64, 64, 3) uint8
    """
    sizes = [min(CHUNK, groups - start) for start in range(0, groups, CHUNK)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        parts = list(executor.map(partial(_draw_chunk, sampler, seed), range(len(sizes)), sizes))
    scenes = [scene for part, _ in parts for scene in part]
    return scenes, torch.from_numpy(np.concatenate([pictures for _, pictures in parts]))


def to_pixels(pictures: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """(n, h, w, 3) uint8 -> (n, 3, h, w) float32 in -1..1, channels last in memory."""
    pixels = pictures.to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return pixels.contiguous(memory_format=torch.channels_last)


def stack_pictures(pictures: Sequence[np.ndarray]) -> Tensor:
    """A list of (h, w, 3) uint8 arrays -> (n, h, w, 3) uint8."""
    return torch.from_numpy(np.stack(pictures))
