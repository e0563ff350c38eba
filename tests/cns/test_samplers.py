"""Every sampler takes as many steps as a picture may have, on each way that published schedules are spaced."""

import pytest
import torch

from cns.samplers import MOST_STEPS, SAMPLERS, build_sampler
from tests.tiny import SCHEDULE


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("steps", [1, 2, MOST_STEPS - 1, MOST_STEPS])
def test_no_number_of_steps_leaves_the_schedule(sampler: str, steps: int, spacing: str) -> None:
    scheduler = build_sampler(sampler, {**SCHEDULE, "num_train_timesteps": 1000, "timestep_spacing": spacing})
    scheduler.set_timesteps(steps)
    latents = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, time)
        latents = scheduler.step(torch.zeros_like(scaled), time, latents).prev_sample
    assert torch.isfinite(latents).all()
