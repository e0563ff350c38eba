"""ED-LoRA (Mix-of-Show, arXiv 2305.18292): a concept learned alone, by low-rank changes and layer-wise tokens.

The paper adapts the text encoder, too. Here it is frozen, as for every method of the benchmark: features of a prompt
then mean the same for all, and the K/V weights see what its changes would have given.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.continual.adapter_learning import FusedLearner, Rates, Taught, learn_concept
from benchmarks.continual.layerwise import ExtendedTokens, LayerwiseBase
from benchmarks.continual.low_rank import ATTENTION, LowRank, changed_weights, find_projections
from benchmarks.continual.method import Budget, Lesson, OnStep
from cns.base_model import BaseModel


class EdLoraLearner(FusedLearner):
    """What the methods that fuse ED-LoRAs have in common; each says how its changes start and how they are fused."""

    def __init__(self, base: BaseModel, budget: Budget, options: Mapping[str, float]):
        super().__init__(base, budget, options)
        self.layerwise = LayerwiseBase(base)
        self.projections = find_projections(base.unet, ATTENTION)

    def view(self, base: BaseModel) -> LayerwiseBase:
        return LayerwiseBase(base)

    def teach_with(
        self, lesson: Lesson, adapters: Mapping[str, LowRank], generator: torch.Generator, on_step: OnStep
    ) -> Taught:
        """One concept alone, by these changes, which are trained in place."""

        def weights() -> dict[str, Tensor]:
            return self.layerwise.spread(changed_weights(self.base.kv_weights, adapters))

        words = ExtendedTokens(self.layerwise, lesson, generator)
        rates = Rates.of(self.options)
        return learn_concept(
            self.layerwise, lesson, self.budget, adapters, words, rates, weights=weights, on_step=on_step
        )
