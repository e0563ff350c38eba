"""DreamBooth (Ruiz et al. 2023, arXiv 2208.12242): the whole UNet is trained, with or without a prior of the class.

Its identifier is a token of its own whose vector is trained too, as every other method's is. The prior's pictures are
made from the captions with the class noun alone: see `prior`.
"""

import time
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from benchmarks.continual.custom_diffusion import WEIGHT_BYTES
from benchmarks.continual.method import (
    Budget,
    Cost,
    Lesson,
    Method,
    OnStep,
    Painter,
    altered_base,
    no_steps,
    plain_version,
)
from benchmarks.continual.prior import Prior
from benchmarks.continual.textual_inversion import TOKEN_BYTES
from benchmarks.continual.training import Trainable, prepare_examples, token_parameters, train
from cns.base_model import BaseModel
from cns.settings import LearningSettings
from cns.text import TokenVectors


class DreamBooth:
    """A UNet of its own, trained on and on, and a vector for each concept; with a prior where the options have one."""

    def __init__(self, base: BaseModel, budget: Budget, options: Mapping[str, float], guidance: float) -> None:
        self.base, self.budget = base, budget
        self.lr_weights, self.lr_token = options["lr_weights"], options["lr_token"]
        self.prior = Prior(int(options.get("prior_pictures", 0)), options.get("prior_weight", 0.0), guidance)
        self.weights: Mapping[str, Tensor] = {}
        self.tokens: dict[str, TokenVectors] = {}

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        return self.learn_all([lesson], on_step)

    def learn_all(self, lessons: Sequence[Lesson], on_step: OnStep = no_steps) -> Cost:
        """All of `lessons` in one training, on top of what was learned before."""
        started = time.monotonic()
        before = {**dict(self.base.unet.named_parameters()), **self.weights}
        weights = {name: nn.Parameter(weight.detach().float().clone()) for name, weight in before.items()}
        tokens = {lesson.token: token_parameters(self.base, lesson.class_noun) for lesson in lessons}
        vectors = [vector for token in tokens.values() for vector in token]
        keys_and_values = {layer: weights[f"{layer}.weight"] for layer in self.base.kv_weights}
        trainable = Trainable(
            [(list(weights.values()), self.lr_weights), (vectors, self.lr_token)],
            lambda: tokens,
            lambda: keys_and_values,
            unet=lambda: weights,
        )
        beside = self.prior.paint(self.base, lessons, self.budget, len(self.tokens))
        examples = prepare_examples(self.base, lessons, self.budget)
        train(self.base, examples, self.budget, trainable, concepts=len(lessons), beside=beside, on_step=on_step)
        self.weights = {name: weight.detach() for name, weight in weights.items()}
        self.tokens |= {name: tuple(vector.detach() for vector in token) for name, token in tokens.items()}
        numbers = sum(vector.numel() for vector in vectors)
        stored = WEIGHT_BYTES * (trainable.size - numbers) + TOKEN_BYTES * numbers
        return Cost(trainable.size, stored, time.monotonic() - started)

    def painter(self) -> Painter:
        base = altered_base(self.base, self.weights) if self.weights else self.base
        return Painter(base, plain_version(base, self.tokens))


def dreambooth_methods(settings: LearningSettings, guidance: float) -> tuple[Method, ...]:
    """settings: the base's own, in whose rate of the token that rate is counted. The rates of weights tried are those
    that are published for larger bases, and above. guidance: how the prior's pictures are made.
    """

    def start(base: BaseModel, budget: Budget, options: Mapping[str, float]) -> DreamBooth:
        return DreamBooth(base, budget, options, guidance)

    rates = {"lr_weights": 1e-5, "lr_token": settings.lr_token * 0.5}
    space = {
        "lr_weights": (2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5),
        "lr_token": tuple(settings.lr_token * factor for factor in (0.1, 0.25, 0.5, 1.0)),
    }
    family = "whole UNet"
    with_prior = {**rates, "prior_weight": 1.0, "prior_pictures": 20}
    return (
        Method("dreambooth", "DreamBooth, sequential", family, "sequential", start, rates, space),
        Method(
            "dreambooth-prior",
            "DreamBooth with prior preservation, sequential",
            family,
            "sequential",
            start,
            with_prior,
            {**space, "prior_weight": (0.3, 1.0, 2.0)},
        ),
        Method(
            "dreambooth-joint",
            "DreamBooth, all concepts at once",
            family,
            "joint",
            start,
            rates,
            {},
            tuned_as="dreambooth",
        ),
    )
