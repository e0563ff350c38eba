"""Textual Inversion (Gal et al. 2022, arXiv 2208.01618): the token's vector alone is trained, the model stays the base.

Nothing that is learned can disturb anything else, and nothing that no vector can say is learned.
"""

import time
from collections.abc import Mapping

from benchmarks.continual.method import Budget, Cost, Lesson, Method, OnStep, Painter, no_steps, plain_version
from benchmarks.continual.training import Trainable, prepare_examples, token_parameters, train
from cns.base_model import BaseModel
from cns.settings import LearningSettings
from cns.text import TokenVectors

TOKEN_BYTES = 4
"""Of each number of a token's vector: they are kept in float32, as deltas keep them."""


class TextualInversion:
    """The base and a vector for each concept."""

    def __init__(self, base: BaseModel, budget: Budget, lr_token: float) -> None:
        self.base, self.budget, self.lr_token = base, budget, lr_token
        self.tokens: dict[str, TokenVectors] = {}

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        started = time.monotonic()
        token = token_parameters(self.base, lesson.class_noun)
        trainable = Trainable([(token, self.lr_token)], lambda: {lesson.token: token}, lambda: self.base.kv_weights)
        train(self.base, prepare_examples(self.base, [lesson], self.budget), self.budget, trainable, on_step=on_step)
        self.tokens[lesson.token] = tuple(vector.detach() for vector in token)
        return Cost(trainable.size, TOKEN_BYTES * trainable.size, time.monotonic() - started)

    def painter(self) -> Painter:
        return Painter(self.base, plain_version(self.base, self.tokens))


def textual_inversion_methods(settings: LearningSettings) -> tuple[Method, ...]:
    """settings: the base's own, whose rate of the token is where the search begins."""

    def start(base: BaseModel, budget: Budget, options: Mapping[str, float]) -> TextualInversion:
        return TextualInversion(base, budget, options["lr_token"])

    rate = settings.lr_token
    return (
        Method(
            "textual-inversion",
            "Textual Inversion",
            "token alone",
            "sequential",
            start,
            {"lr_token": rate},
            {"lr_token": tuple(rate * factor for factor in (0.1, 0.2, 0.5, 1.0, 2.0, 4.0))},
        ),
    )
