"""The terms of the loss: against diffusers' own arithmetic, and at the ends of the noise schedule."""

import pytest
import torch
from diffusers import DDPMScheduler

from cns.base_model import BaseModel
from cns.losses import (
    diffusion_loss,
    diffusion_target,
    draw_times,
    energy,
    feature_moment,
    min_snr_weights,
    noisy_latents,
    protection_loss,
)


def _drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, 3, 3, generator=generator), torch.randn(count, 4, 3, 3, generator=generator)


@pytest.mark.parametrize("shape", ["sd1", "sd2"])
def test_noise_and_velocity_are_those_of_the_bases_schedule(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    schedule = DDPMScheduler.from_config(base.scheduler_config)
    last = len(schedule.alphas_cumprod) - 1
    times = torch.tensor([0, last // 2, last])
    clean, noise = _drawn(3)
    signal = schedule.alphas_cumprod[times]
    assert torch.allclose(noisy_latents(clean, noise, signal), schedule.add_noise(clean, noise, times), atol=1e-6)
    velocity = diffusion_target(clean, noise, signal, "v_prediction")
    assert torch.allclose(velocity, schedule.get_velocity(clean, noise, times), atol=1e-6)
    assert torch.equal(diffusion_target(clean, noise, signal, "epsilon"), noise)


def test_with_zero_terminal_snr_the_last_step_sees_noise_alone_and_is_asked_for_the_picture(sd2: BaseModel) -> None:
    signal = DDPMScheduler.from_config(sd2.scheduler_config).alphas_cumprod[-1:]
    clean, noise = _drawn(1)
    assert signal.item() == 0
    assert torch.equal(noisy_latents(clean, noise, signal), noise)
    assert torch.equal(diffusion_target(clean, noise, signal, "v_prediction"), -clean)


def test_time_steps_come_one_from_each_share_of_the_schedule_and_by_power_from_its_noisy_end() -> None:
    generator = torch.Generator().manual_seed(3)
    even = torch.stack([draw_times(8, 1000, 1.0, generator) for _ in range(50)])
    assert (even.sort(dim=1).values // 125 == torch.arange(8)).all()
    assert not (even[:, 0] == even[0, 0]).all()
    noisy = torch.stack([draw_times(8, 1000, 0.5, generator) for _ in range(50)]).double()
    assert noisy.max() <= 999
    assert noisy.mean().item() == pytest.approx(2 / 3 * 1000, rel=0.02)  # the mean of the square root of an even draw


def test_another_kind_of_prediction_is_refused() -> None:
    clean, noise = _drawn(1)
    with pytest.raises(ValueError, match="epsilon, v_prediction"):
        diffusion_target(clean, noise, torch.ones(1), "sample")


def test_the_denoising_loss_is_a_mean_over_the_batch_that_can_be_weighed() -> None:
    made, target = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    assert diffusion_loss(made, target).item() == 1
    assert diffusion_loss(made, target, torch.tensor([0.0, 1.0])).item() == 0.5


def test_protection_counts_owned_entries_alone() -> None:
    values, before, original = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])
    owned = torch.tensor([False, True])
    assert protection_loss(values, before, original, owned, l1=1.0, l2=0.5).item() == pytest.approx(4 + 0.5)
    assert protection_loss(values, before, original, torch.zeros(2, dtype=torch.bool), 1.0, 1.0).item() == 0


def test_protection_pulls_on_owned_entries_alone() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    before, original = torch.zeros(2), torch.ones(2)
    protection_loss(values, before, original, torch.tensor([False, True]), l1=1.0, l2=0.5).backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0, 2 * 2 + 0.5 * 2 * 1])


def test_min_snr_weights_clip_easy_steps_and_stay_finite_at_both_ends() -> None:
    signal = torch.tensor([0.0, 0.5, 0.95, 1.0])  # ratios 0, 1, 19, infinite
    noise = min_snr_weights(signal, 5.0, "epsilon")
    assert noise.tolist() == pytest.approx([1, 1, 5 / 19, 0], abs=1e-4)
    velocity = min_snr_weights(signal, 5.0, "v_prediction")
    assert velocity.tolist() == pytest.approx([0, 0.5, 5 / 20, 0], abs=1e-4)


def test_energy_is_what_a_weight_makes_of_the_features_its_moment_was_taken_from() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(3, 5, 4, generator=generator), torch.randn(6, 4, generator=generator)
    through = (hidden @ weight.T).square().sum() / 3
    assert energy(weight, feature_moment(hidden)).item() == pytest.approx(through.item(), rel=1e-5)
