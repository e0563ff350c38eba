"""Every sampler takes as many steps as a picture may have, on each way that published schedules are spaced."""

import pytest
import torch

from cns.base_model import BaseModel
from cns.compose import compose
from cns.denoise import GenerationRequest, generate
from cns.samplers import MOST_STEPS, SAMPLERS, build_sampler, set_steps
from tests.tiny import SCHEDULE

SPACINGS = ["leading", "trailing", "linspace"]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("steps", [1, 2, MOST_STEPS - 1, MOST_STEPS])
def test_no_number_of_steps_leaves_the_schedule(sampler: str, steps: int, spacing: str) -> None:
    scheduler = build_sampler(sampler, {**SCHEDULE, "num_train_timesteps": 1000, "timestep_spacing": spacing})
    set_steps(scheduler, steps)
    latents = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, time)
        latents = scheduler.step(torch.zeros_like(scaled), time, latents).prev_sample
    assert torch.isfinite(latents).all()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_as_many_steps_are_taken_as_were_asked_for(sampler: str, spacing: str) -> None:
    scheduler = build_sampler(sampler, {**SCHEDULE, "num_train_timesteps": 1000, "timestep_spacing": spacing})
    for steps in range(1, MOST_STEPS + 1):
        set_steps(scheduler, steps)
        assert len(scheduler.timesteps) == scheduler.num_inference_steps == steps
        assert 0 <= scheduler.timesteps.min() <= scheduler.timesteps.max() <= 999
        if hasattr(scheduler, "sigmas"):
            assert len(scheduler.sigmas) == steps + 1
            assert scheduler.sigmas[-1] == 0
            assert (scheduler.sigmas.diff() < 0).all()


def test_a_picture_of_61_steps_is_hardly_another_than_those_of_60_and_62(sd2: BaseModel) -> None:
    """Its schedule is "trailing", as that of the shipped base is."""
    asked = [GenerationRequest("a cat", seed=1, steps=steps, guidance=1.0) for steps in (60, 61, 62)]
    fewer, middle, more = generate(sd2, compose(sd2), asked)
    assert (middle - fewer).abs().mean() < 0.01 < middle.std()
    assert (middle - more).abs().mean() < 0.01
