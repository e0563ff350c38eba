"""Samplers: diffusers' scheduler classes, built from the noise schedule that the base was trained with."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from cns.errors import CnsError

MOST_STEPS = 500
"""Of a picture. With nearly as many steps as a base was trained with, a thousand, some samplers leave its schedule."""


class UnknownSampler(CnsError):
    """A request names a sampler that does not exist here."""


def _ddim(config: Mapping[str, Any]) -> Any:
    # Its default is for pixels: latents go well beyond -1..1.
    return DDIMScheduler.from_config(dict(config), clip_sample=False)


def _euler(config: Mapping[str, Any]) -> Any:
    return EulerDiscreteScheduler.from_config(dict(config))


def _dpm(config: Mapping[str, Any]) -> Any:
    return DPMSolverMultistepScheduler.from_config(dict(config), algorithm_type="dpmsolver++", solver_order=2)


def _unipc(config: Mapping[str, Any]) -> Any:
    return UniPCMultistepScheduler.from_config(dict(config))


SAMPLERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = MappingProxyType(
    {"ddim": _ddim, "euler": _euler, "dpm++2m": _dpm, "unipc": _unipc}
)


def check_sampler(name: str) -> None:
    """Raise UnknownSampler for a sampler that does not exist here."""
    if name not in SAMPLERS:
        raise UnknownSampler(f"There is no sampler {name!r}; there are {', '.join(SAMPLERS)}.")


def build_sampler(name: str, scheduler_config: Mapping[str, Any]) -> Any:
    """A scheduler of its own for one request. Raises UnknownSampler."""
    check_sampler(name)
    return SAMPLERS[name](scheduler_config)


def set_steps(scheduler: Any, steps: int) -> None:
    """Have a scheduler take exactly so many steps, 1 to MOST_STEPS, from the noisiest on as its spacing has it.

    "Leading" spacing begins a stride below the noisiest. Of a single step, it and "linspace" have the clean end alone:
    "ddim" and "euler" then paint nothing on a base whose schedule names one of them, or none.

    "Trailing" spacing counts down by 1000 / steps, and for some numbers of steps, such as 61, rounding makes it one
    step more than asked for, at time -1: outside the schedule, which samplers read there from its noisy end.
    """
    # Time steps stay on the CPU: samplers look their tables up by them, and each look at one that lies on a GPU waits
    # for all that the GPU has to do before.
    scheduler.set_timesteps(steps, device="cpu")
    if len(scheduler.timesteps) <= steps:
        return
    scheduler.timesteps = scheduler.timesteps[:steps]
    scheduler.num_inference_steps = steps
    if hasattr(scheduler, "sigmas"):  # one for each step, and what is left at the end
        scheduler.sigmas = torch.cat([scheduler.sigmas[:steps], scheduler.sigmas[-1:]])
