"""LoRA (Hu et al., arXiv 2106.09685) for each concept alone, merged by adding the adapters up.

The plainest way to bring independent adapters together: W = W_0 + share * sum of dW_i.
"""

from benchmarks.continual.adapter_learning import (
    Fused,
    FusedLearner,
    OneToken,
    Rates,
    Taught,
    concept_generator,
    held_bytes,
    learn_concept,
)
from benchmarks.continual.low_rank import ATTENTION, add_up, find_projections, start_adapters
from benchmarks.continual.method import Lesson, OnStep


class MergedLora(FusedLearner):
    """A learner: see `benchmarks.continual.method.Learner`."""

    def teach(self, lesson: Lesson, on_step: OnStep) -> Taught:
        generator = concept_generator(self.budget.seed, lesson.name)
        projections = find_projections(self.base.unet, ATTENTION)
        adapters = start_adapters(projections, int(self.options["rank"]), 1.0, generator)
        token = OneToken(lesson, self.base.token_vectors(lesson.class_noun), self.base.device)
        rates = Rates.of(self.options)
        return learn_concept(self.base, lesson, self.budget, adapters, token, rates, on_step=on_step)

    def fuse(self) -> Fused:
        changes = add_up([one.changes for one in self.taught], self.options["share"])
        return Fused(changes, held_bytes(self.taught, changes))
