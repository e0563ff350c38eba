"""A look at latents that costs no decoding: the colours of what the autoencoder would make of them."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from cns.base_model import BaseModel
from cns.compose import compose
from cns.denoise import GenerationRequest, GenerationRun, denoise_step
from cns.errors import BaseModelError
from cns.kv import handed_attention
from cns.preview import fit_preview
from cns.samplers import SAMPLERS


class LinearAutoencoder:
    """Each position's channels are the mean colour of its pixels, mixed: what the map can hit exactly."""

    device, dtype, vae_scale = torch.device("cpu"), torch.float32, 4
    mixed = torch.randn(6, 3, generator=torch.Generator().manual_seed(3))

    def encode_images(self, pixels: Tensor) -> Tensor:
        return torch.einsum("brhw,cr->bchw", avg_pool2d(pixels, self.vae_scale), self.mixed) - 0.3

    def decode_latents(self, latents: Tensor) -> Tensor:
        colours = torch.einsum("bchw,rc->brhw", latents + 0.3, torch.linalg.pinv(self.mixed))
        return interpolate(colours / 2 + 0.5, scale_factor=self.vae_scale)


def test_colours_of_an_autoencoder_that_is_linear_are_met_exactly_though_it_has_idle_channels() -> None:
    base = LinearAutoencoder()
    look = fit_preview(base)  # type: ignore[arg-type]
    latents = base.encode_images(torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(9)) * 2 - 1)
    torch.testing.assert_close(look(latents), base.decode_latents(latents), atol=1e-4, rtol=0)


def test_an_autoencoder_that_gives_no_numbers_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(_: LinearAutoencoder, latents: Tensor) -> Tensor:
        return torch.full((len(latents), 3, 8, 8), torch.inf)

    monkeypatch.setattr(LinearAutoencoder, "decode_latents", overflow)
    with pytest.raises(BaseModelError, match="autoencoder overflows in float32"):
        fit_preview(LinearAutoencoder())  # type: ignore[arg-type]


def test_the_same_base_gives_the_same_map_and_is_left_as_it_was(sd1: BaseModel) -> None:
    checksum = sd1.checksum()
    first, second = fit_preview(sd1), fit_preview(sd1)
    assert torch.equal(first.matrix, second.matrix)
    assert torch.equal(first.offset, second.offset)
    assert sd1.checksum() == checksum


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_says_what_the_picture_will_come_to(sd1: BaseModel, sampler: str) -> None:
    """At the last step that is the picture itself."""
    run = GenerationRun(sd1, compose(sd1), GenerationRequest("a cat", seed=1, steps=4, sampler=sampler))
    assert run.clean is None
    look = fit_preview(sd1)
    with handed_attention(sd1.unet):
        while not run.done:
            denoise_step(sd1, [run])
            assert run.clean is not None
            assert look(run.clean).shape == (1, 3, 16, 16)
    assert run.clean is not None
    torch.testing.assert_close(run.clean, run.latents, atol=0.15, rtol=0.1)
