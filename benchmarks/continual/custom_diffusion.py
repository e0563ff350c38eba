"""Custom Diffusion (Kumari et al. 2023, arXiv 2212.04488): every key and value projection of text, and the token.

Sequential: each concept is learned on top of what the last one left. Joint: all concepts at once. Each alone, then
merged: see `custom_merged`. The original adds pictures of the class as a regulariser; it begins without any, like every
other method but DreamBooth's second form, and tuning may give it some by `prior_weight`: see `prior`.
"""

import time
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from benchmarks.continual.method import Budget, Cost, Lesson, Method, OnStep, Painter, no_steps, plain_version
from benchmarks.continual.prior import Prior
from benchmarks.continual.textual_inversion import TOKEN_BYTES
from benchmarks.continual.training import Trainable, prepare_examples, token_parameters, train
from cns.base_model import BaseModel
from cns.settings import LearningSettings
from cns.text import TokenVectors

WEIGHT_BYTES = 2
"""Of each weight that is kept: they are kept in float16, as deltas keep them."""
PRIOR_PICTURES = 20
"""Of its class with each concept, where there is a prior: as many as with DreamBooth's."""


class CustomDiffusion:
    """All keys and values, trained on and on, and a vector for each concept."""

    def __init__(self, base: BaseModel, budget: Budget, options: Mapping[str, float], guidance: float) -> None:
        self.base, self.budget = base, budget
        self.lr_weights, self.lr_token = options["lr_weights"], options["lr_token"]
        self.prior = Prior(PRIOR_PICTURES, options["prior_weight"], guidance)
        self.weights: Mapping[str, Tensor] = base.kv_weights
        self.tokens: dict[str, TokenVectors] = {}

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        return self.learn_all([lesson], on_step)

    def learn_all(self, lessons: Sequence[Lesson], on_step: OnStep = no_steps) -> Cost:
        """All of `lessons` in one training, on top of what was learned before."""
        started = time.monotonic()
        weights = {layer: nn.Parameter(weight.detach().float().clone()) for layer, weight in self.weights.items()}
        tokens = {lesson.token: token_parameters(self.base, lesson.class_noun) for lesson in lessons}
        vectors = [vector for token in tokens.values() for vector in token]
        trainable = Trainable(
            [(list(weights.values()), self.lr_weights), (vectors, self.lr_token)], lambda: tokens, lambda: weights
        )
        examples = prepare_examples(self.base, lessons, self.budget)
        beside = self.prior.paint(self.base, lessons, self.budget, len(self.tokens))
        train(self.base, examples, self.budget, trainable, concepts=len(lessons), beside=beside, on_step=on_step)
        self.weights = {layer: weight.detach() for layer, weight in weights.items()}
        self.tokens |= {name: tuple(vector.detach() for vector in token) for name, token in tokens.items()}
        numbers = sum(vector.numel() for vector in vectors)
        stored = WEIGHT_BYTES * (trainable.size - numbers) + TOKEN_BYTES * numbers
        return Cost(trainable.size, stored, time.monotonic() - started)

    def painter(self) -> Painter:
        return Painter(self.base, plain_version(self.base, self.tokens, self.weights))


def custom_diffusion_methods(settings: LearningSettings, guidance: float) -> tuple[Method, ...]:
    """settings: the base's own, in whose rate of the token that rate is counted, as it goes with the length of a base's
    word vectors. The rates of weights tried are those that are published for larger bases, and above. guidance: how a
    prior's pictures are made.
    """

    def start(base: BaseModel, budget: Budget, options: Mapping[str, float]) -> CustomDiffusion:
        return CustomDiffusion(base, budget, options, guidance)

    rates = {"lr_weights": 5e-5, "lr_token": settings.lr_token * 0.5, "prior_weight": 0.0}
    space = {
        "lr_weights": (1e-5, 2.5e-5, 5e-5, 1.25e-4, 2.5e-4, 5e-4),
        "lr_token": tuple(settings.lr_token * factor for factor in (0.1, 0.25, 0.5, 1.0)),
        "prior_weight": (0.0, 0.3, 1.0),
    }
    return (
        Method("custom", "Custom Diffusion, sequential", "all keys and values", "sequential", start, rates, space),
        Method(
            "custom-joint",
            "Custom Diffusion, joint",
            "all keys and values",
            "joint",
            start,
            rates,
            {},
            tuned_as="custom",
        ),
    )
