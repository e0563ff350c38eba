"""One training loop for every method: the same pictures, noise, times, captions, loss and rates, whatever is trained.

It does what `cns.learning.LearningRun` does, for parameters that the caller brings. So methods differ in what they
train and in what they add to the loss, and in nothing else.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from benchmarks.continual.method import Budget, Lesson, OnStep, no_steps
from cns.base_model import BaseModel
from cns.kv import handed_attention, keys_and_values, predict
from cns.learning import HALF_LOSS_SCALE
from cns.learning_rows import EncodedPictures, encode_pictures, repeat_rows
from cns.losses import diffusion_loss, diffusion_target, draw_times, min_snr_weights, noisy_latents
from cns.text import TokenVectors


@dataclass(frozen=True)
class Beside:
    """Examples that go along in every step, as many rows as the concept's own, their loss weighted: a prior's."""

    examples: EncodedPictures
    weight: float


@dataclass(frozen=True)
class Trainable:
    """What a method trains.

    groups: parameters and their learning rate. tokens(): "<rex>" -> its vectors, of every token that captions name.
    weights(): every K/V layer -> (out, in). unet(): parameters of the UNet by name, in the place of its own ones (K/V
    of text are always taken from `weights`); None where the UNet stays as it is. penalty(): what is added to the loss,
    a scalar. The functions are called once a step and may be differentiable in the parameters.
    """

    groups: Sequence[tuple[Sequence[nn.Parameter], float]]
    tokens: Callable[[], Mapping[str, TokenVectors]]
    weights: Callable[[], Mapping[str, Tensor]]
    unet: Callable[[], Mapping[str, Tensor]] | None = None
    penalty: Callable[[], Tensor] | None = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group, _ in self.groups for parameter in group]

    @property
    def size(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters)


def prepare_examples(base: BaseModel, lessons: Sequence[Lesson], budget: Budget) -> EncodedPictures:
    """The pictures of all `lessons` as latents, and their mirror images where the budget says so."""
    pictures = [picture for lesson in lessons for picture in lesson.pictures]
    captions = [caption for lesson in lessons for caption in lesson.captions]
    return encode_pictures(base, pictures, captions, resolution_px=budget.resolution_px, flip=budget.flip)


def token_parameters(base: BaseModel, word: str) -> tuple[nn.Parameter, ...]:
    """A new token's vectors to be trained, one per text encoder, starting as those of `word` (its class noun)."""
    return tuple(nn.Parameter(vector.to(base.device)) for vector in base.token_vectors(word))


def train(
    base: BaseModel,
    examples: EncodedPictures,
    budget: Budget,
    trainable: Trainable,
    *,
    concepts: int = 1,
    beside: Beside | None = None,
    on_step: OnStep = no_steps,
) -> list[float]:
    """Train in place for the budget's steps, times `concepts`; returns the diffusion loss of every step.

    The shared base is only read. The same inputs give the same parameters on the same machine.
    """
    schedule: Any = DDPMScheduler.from_config(dict(base.scheduler_config))
    signal = schedule.alphas_cumprod.to(base.device)
    optimizer = torch.optim.AdamW(
        [{"params": list(group), "lr": rate} for group, rate in trainable.groups], betas=(0.9, 0.99), weight_decay=0.0
    )
    scale = HALF_LOSS_SCALE if base.dtype is torch.float16 else 1.0
    steps, losses = budget.steps * concepts, []
    for step in range(steps):
        generator = torch.Generator().manual_seed((budget.seed * 1_000_003 + step) % 2**63)
        own = _draw(examples, signal, budget, generator)
        drawn = [own, _draw(beside.examples, signal, budget, generator)] if beside else [own]
        made = _predict(base, drawn, signal, budget, trainable)
        loss = _loss(base, own, made[0], signal, budget)
        whole = loss if beside is None else loss + beside.weight * _loss(base, drawn[1], made[1], signal, budget)
        if trainable.penalty is not None:
            whole = whole + trainable.penalty()
        (whole * scale).backward()
        if scale != 1:
            for parameter in trainable.parameters:
                if parameter.grad is not None:
                    parameter.grad /= scale
        share = _share_of_rate(step, steps, budget)
        for group, (_, rate) in zip(optimizer.param_groups, trainable.groups, strict=True):
            group["lr"] = rate * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        on_step(step + 1, steps)
    return losses


def _share_of_rate(step: int, steps: int, budget: Budget) -> float:
    """Rising over the warm-up, whole, and falling to nothing over the last `cooldown` share of the steps."""
    rise = min(1.0, (step + 1) / max(1, budget.warmup_steps))
    fall = min(1.0, (steps - step) / max(1.0, budget.cooldown * steps))
    return rise * fall


@dataclass(frozen=True)
class _Rows:
    """Rows of a step: clean latents and noise (batch, ...), times (batch,), and their captions in words, in order."""

    clean: Tensor
    noise: Tensor
    times: Tensor
    captions: tuple[str, ...]
    counts: tuple[int, ...]
    side_px: int


def _draw(examples: EncodedPictures, signal: Tensor, budget: Budget, generator: torch.Generator) -> _Rows:
    """As `LearningRun.step` draws, in the same order from the same seed."""
    rows = torch.randint(len(examples.latents), (budget.batch,), generator=generator)
    rows = rows[examples.caption_of[rows].argsort(stable=True)]  # the rows of one caption side by side
    times = draw_times(budget.batch, len(signal), budget.time_power, generator).to(signal.device)
    noise = torch.randn((budget.batch, *examples.latents.shape[1:]), generator=generator).to(signal.device)
    drawn, counted = examples.caption_of[rows].unique(return_counts=True)
    captions = tuple(examples.captions[index] for index in drawn.tolist())
    clean = examples.latents[rows.to(examples.latents.device)]
    return _Rows(clean, noise, times, captions, tuple(counted.tolist()), examples.side_px)


def _loss(base: BaseModel, rows: _Rows, made: Tensor, signal: Tensor, budget: Budget) -> Tensor:
    level = signal[rows.times]
    target = diffusion_target(rows.clean, rows.noise, level, base.prediction_type)
    weights = None
    if budget.min_snr_gamma is not None:
        weights = min_snr_weights(level, budget.min_snr_gamma, base.prediction_type)
    return diffusion_loss(made, target, weights)


def _predict(
    base: BaseModel, drawn: Sequence[_Rows], signal: Tensor, budget: Budget, trainable: Trainable
) -> tuple[Tensor, ...]:
    """The UNet's answers for each group of rows, by one call; differentiable in what is trained."""
    features = base.text_features([caption for rows in drawn for caption in rows.captions], trainable.tokens())
    counts = [count for rows in drawn for count in rows.counts]
    kv = keys_and_values(trainable.weights(), features.hidden)
    repeated = {layer: (repeat_rows(key, counts), repeat_rows(value, counts)) for layer, (key, value) in kv.items()}
    pooled = repeat_rows(features.pooled, counts) if features.pooled is not None else None
    side = drawn[0].side_px
    noisy = torch.cat([noisy_latents(rows.clean, rows.noise, signal[rows.times]) for rows in drawn])
    times = torch.cat([rows.times for rows in drawn])
    added = base.added_conditions(pooled, side, side)
    mixed = torch.autocast(base.device.type, torch.bfloat16, enabled=budget.mixed_precision)
    with handed_attention(base.unet), mixed:
        made = predict(_with_unet(base, trainable), noisy.to(base.dtype), times, repeated, added)
    return made.split([len(rows.clean) for rows in drawn])


class _AlteredUNet:
    """The shared UNet, called as if some of its parameters were others; it is as it was after each call."""

    def __init__(self, unet: Any, parameters: Mapping[str, Tensor]):
        self._unet, self._parameters, self.config = unet, dict(parameters), unet.config

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return torch.func.functional_call(self._unet, self._parameters, inputs, named)


def _with_unet(base: BaseModel, trainable: Trainable) -> BaseModel:
    if trainable.unet is None:
        return base
    altered = copy.copy(base)
    parameters = {name: value.to(base.dtype) for name, value in trainable.unet().items()}
    altered.unet = _AlteredUNet(base.unet, parameters)
    return altered
