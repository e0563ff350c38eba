"""LoRA (Hu et al., arXiv 2106.09685), sequential: one adapter that is trained on and on, concept after concept.

On query, key, value and output of self- and cross-attention, as the public LoRA recipes for Stable Diffusion have it;
each concept brings a token of its own, and earlier ones' tokens stay as they were.
"""

from collections.abc import Mapping

import torch

from benchmarks.continual.adapter_learning import OneToken, Rates, Taught, build_painter, learn_concept
from benchmarks.continual.low_rank import ATTENTION, add_up, find_projections, start_adapters
from benchmarks.continual.method import Budget, Cost, Lesson, OnStep, Painter, no_steps
from cns.base_model import BaseModel


class SequentialLora:
    """A learner: see `benchmarks.continual.method.Learner`."""

    def __init__(self, base: BaseModel, budget: Budget, options: Mapping[str, float]):
        self.base, self.budget, self.rates = base, budget, Rates.of(options)
        generator = torch.Generator().manual_seed(budget.seed)
        projections = find_projections(base.unet, ATTENTION)
        self._adapters = start_adapters(projections, int(options["rank"]), 1.0, generator)
        self._taught: list[Taught] = []

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        """What is stored for the concept is the adapter as it is after it: without that, no earlier state returns."""
        token = OneToken(lesson, self.base.token_vectors(lesson.class_noun), self.base.device)
        taught = learn_concept(self.base, lesson, self.budget, self._adapters, token, self.rates, on_step=on_step)
        self._taught.append(taught)
        return taught.cost

    def painter(self) -> Painter:
        return build_painter(self.base, self._taught, add_up([one.changes for one in self._taught[-1:]]))
