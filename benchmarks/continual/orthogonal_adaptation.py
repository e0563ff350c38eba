"""Orthogonal Adaptation (Po et al., arXiv 2312.02432): adapters that can be added up, as they read other directions.

dW_i = A_i B_i^T with B_i fixed: some of the directions of one orthogonal basis of a layer's inputs, drawn at random for
each concept without knowing of the others. Two concepts that drew different directions do not touch
each other's, dW_i B_j = 0; a few directions may be drawn twice. Only A_i is trained. Built on ED-LoRA, as published.
"""

from collections.abc import Mapping

from benchmarks.continual.adapter_learning import Fused, Taught, concept_generator, held_bytes
from benchmarks.continual.ed_lora import EdLoraLearner
from benchmarks.continual.low_rank import LowRank, add_up, draw_directions, orthogonal_basis
from benchmarks.continual.method import Budget, Lesson, OnStep
from cns.base_model import BaseModel


class OrthogonalAdaptation(EdLoraLearner):
    """A learner: see `benchmarks.continual.method.Learner`."""

    def __init__(self, base: BaseModel, budget: Budget, options: Mapping[str, float]):
        super().__init__(base, budget, options)
        widths = {projection.in_features for projection in self.projections.values()}
        self._bases = {width: orthogonal_basis(width, budget.seed).to(base.device) for width in widths}

    def teach(self, lesson: Lesson, on_step: OnStep) -> Taught:
        generator = concept_generator(self.budget.seed, lesson.name)
        rank = int(self.options["rank"])
        adapters = {
            name: LowRank(
                draw_directions(self._bases[projection.in_features], rank, generator),
                projection.out_features,
                fixed=True,
            )
            for name, projection in self.projections.items()
        }
        return self.teach_with(lesson, adapters, generator, on_step)

    def fuse(self) -> Fused:
        changes = add_up([one.changes for one in self.taught], self.options["share"])
        return Fused(changes, held_bytes(self.taught, changes))
