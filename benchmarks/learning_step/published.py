"""A training step as the examples of diffusers take it: `train_dreambooth.py`, `train_dreambooth_lora.py` and
`train_custom_diffusion.py`, each at its defaults and without pictures of the class.

All three go the same way: pixels through the autoencoder in every step, noise, the prompts through the text encoder in
every step, the UNet, squared error, clipped gradients, AdamW. They differ in what is trained. Pictures are read and
cropped beforehand and wait in memory, and gradients are dropped rather than zeroed, which is as fast as it can be had.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.learning_step.lesson import Lesson
from cns.base_model import BaseModel
from cns.errors import CnsError

CLIPPED_TO = 1.0


class NotPublished(CnsError):
    """The published examples that are followed here are those for Stable Diffusion 1.x and 2.x."""


@dataclass(frozen=True)
class Precision:
    """weights: dtype of what is not trained. mixed: the UNet computes in bfloat16, as with `mixed_precision="bf16"`."""

    weights: torch.dtype
    mixed: bool


class PublishedStep:
    """One example's loop, a step at a time.

    unet: a copy that belongs to this loop. read: input ids (batch, tokens) -> text states (batch, tokens, width).
    trained: all that is trained. before_update: called between the gradients and the optimiser.
    """

    def __init__(
        self,
        base: BaseModel,
        lesson: Lesson,
        batch: int,
        precision: Precision,
        unet: Any,
        read: Callable[[Tensor], Tensor],
        trained: Sequence[nn.Parameter],
        before_update: Callable[[], None] = lambda: None,
    ):
        self.unet, self.trained = unet, list(trained)
        self._read, self._before_update, self._batch, self._precision = read, before_update, batch, precision
        self._device = base.device
        self._vae = frozen_copy(base.vae, precision.weights)
        self._pixels, self._ids = lesson.pixels(), tokenize(base, lesson.prompts)
        self._schedule: Any = DDPMScheduler.from_config(dict(base.scheduler_config))
        self._generator = torch.Generator().manual_seed(0)
        self._optimizer: torch.optim.Optimizer | None = None

    def step(self) -> float:
        """One update; returns its loss."""
        rows = torch.randint(len(self._pixels), (self._batch,), generator=self._generator)
        pixels = self._pixels[rows].to(self._device, self._precision.weights)
        latents = self._vae.encode(pixels).latent_dist.sample() * self._vae.config.scaling_factor
        noise = torch.randn_like(latents)
        length = self._schedule.config.num_train_timesteps
        times = torch.randint(length, (self._batch,), generator=self._generator).to(self._device)
        noisy = self._schedule.add_noise(latents, noise, times)
        text = self._read(self._ids[rows].to(self._device))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision.mixed):
            made = self.unet(noisy, times, encoder_hidden_states=text, return_dict=False)[0]
        loss = mse_loss(made.float(), self._target(latents, noise, times).float())
        loss.backward()
        self._before_update()
        nn.utils.clip_grad_norm_(self.trained, CLIPPED_TO)
        if self._optimizer is None:
            self._optimizer = torch.optim.AdamW(self.trained, lr=5e-6, betas=(0.9, 0.999), weight_decay=1e-2)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.item()

    @torch.no_grad()
    def read_ahead(self) -> None:
        """Take the prompts through the text encoder once, now, and never again."""
        states = self._read(self._ids.to(self._device))
        self._ids, self._read = torch.arange(len(states)), states.__getitem__

    def _target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        if self._schedule.config.prediction_type == "v_prediction":
            velocity: Tensor = self._schedule.get_velocity(latents, noise, times)
            return velocity
        return noise


def frozen_copy(module: Any, dtype: torch.dtype) -> Any:
    """A copy of a part of the base in `dtype`, none of whose parameters asks for a gradient."""
    copied = copy.deepcopy(module).requires_grad_(False)
    return nn.Module.to(copied, dtype=dtype)  # diffusers' own `to` warns of lists that are empty


def tokenize(base: BaseModel, prompts: Sequence[str]) -> Tensor:
    """(n, tokens) int64, padded to the tokenizer's length as the examples do it."""
    tokenizer: Any = base.tokenizers[0]
    found = tokenizer(
        list(prompts),
        truncation=True,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    ids: Tensor = found.input_ids
    return ids


def text_reader(base: BaseModel, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The prompts' way through a frozen text encoder, taken in every step."""
    if base.kind != "sd":
        raise NotPublished("The examples of diffusers that are followed here read one text encoder: SDXL has two.")
    encoder = frozen_copy(base.text_encoders[0], dtype)

    def read(ids: Tensor) -> Tensor:
        states: Tensor = encoder(ids, return_dict=False)[0]
        return states

    return read
