"""C-LoRA (Smith et al., Continual Diffusion, arXiv 2304.06027): self-regularised low-rank changes of keys and values.

Concept t is learned on top of all before it, W = W_0 + sum of earlier A B + A_t B_t, and is kept from changing what
they have changed:

    L_forget = firmness * || |W_{t-1} - W_0| * (A_t B_t) ||^2     (element by element)

Its token starts at random among the encoder's words, not at the class noun, and captions do not say the noun, so that
concepts of one noun start apart; `says_noun` leaves it in.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.continual.adapter_learning import OneToken, Rates, Taught, concept_generator, learn_concept
from benchmarks.continual.layerwise import random_token
from benchmarks.continual.low_rank import (
    CROSS_KV,
    LowRank,
    add_up,
    changed_weights,
    find_projections,
    start_adapters,
)
from benchmarks.continual.method import Budget, Cost, Lesson, OnStep, Painter, no_steps, plain_version
from cns.base_model import BaseModel


def forgetting_penalty(adapters: Mapping[str, LowRank], earlier: Mapping[str, Tensor]) -> Tensor:
    """|| |earlier| * dW ||^2, summed over the layers: a scalar. earlier: W_{t-1} - W_0 (out, in) of some layers."""
    terms = [(change.abs() * adapters[name].change()).square().sum() for name, change in earlier.items()]
    return torch.stack(terms).sum()


class CLora:
    """A learner: see `benchmarks.continual.method.Learner`."""

    def __init__(self, base: BaseModel, budget: Budget, options: Mapping[str, float]):
        self.base, self.budget, self.options = base, budget, options
        self._taught: list[Taught] = []
        self._earlier: dict[str, Tensor] = {}

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        base, earlier = self.base, self._earlier
        generator = concept_generator(self.budget.seed, lesson.name)
        projections = find_projections(base.unet, CROSS_KV)
        adapters = start_adapters(projections, int(self.options["rank"]), 1.0, generator)
        says_noun = bool(self.options["says_noun"])
        token = OneToken(lesson, random_token(base, generator), base.device, says_noun=says_noun)
        before = self._weights()
        firmness = self.options["firmness"]
        taught = learn_concept(
            base,
            lesson,
            self.budget,
            adapters,
            token,
            Rates.of(self.options),
            weights=lambda: changed_weights(before, adapters),
            penalty=(lambda: firmness * forgetting_penalty(adapters, earlier)) if earlier else None,
            on_step=on_step,
        )
        self._taught.append(taught)
        self._earlier = add_up([one.changes for one in self._taught])
        return taught.cost

    def painter(self) -> Painter:
        tokens = {name: vectors for one in self._taught for name, vectors in one.tokens.items()}
        written_as = {words: written for one in self._taught for words, written in one.written_as.items()}
        return Painter(self.base, plain_version(self.base, tokens, self._weights()), written_as)

    def _weights(self) -> dict[str, Tensor]:
        """K/V weights with all that was learned so far; on an accelerator's base in the base's dtype."""
        return {
            name: (weight.float() + self._earlier[name]).to(weight.dtype) if name in self._earlier else weight
            for name, weight in self.base.kv_weights.items()
        }
