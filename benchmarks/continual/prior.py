"""Prior preservation: pictures of a concept's class, made by the untouched base, that go along in every step.

As many of them as of the concept's own pictures are in a step, on top of the budget, and making them counts as time to
learn. DreamBooth (arXiv 2208.12242) makes them like this; Custom Diffusion (arXiv 2212.04488) takes real ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.continual.method import Budget, Lesson, plain_version
from benchmarks.continual.training import Beside, prepare_examples
from cns.base_model import BaseModel
from cns.denoise import GenerationRequest, generate, to_pictures

PRIOR_SEEDS = 40_000  # from here on, so that no picture of the prior starts from the noise of one that is judged


@dataclass(frozen=True)
class Prior:
    """pictures: of its class that go with a concept; weight: of their loss; guidance: how they are made."""

    pictures: int
    weight: float
    guidance: float

    def paint(self, base: BaseModel, lessons: Sequence[Lesson], budget: Budget, learned: int) -> Beside | None:
        """The prior of `lessons`, each picture with the caption that it was made from; None where it has no weight.

        learned: how many concepts came before, so that each has noise of its own.
        """
        if not self.pictures or not self.weight:
            return None
        prior = [self._paint(base, lesson, learned + number) for number, lesson in enumerate(lessons)]
        return Beside(prepare_examples(base, prior, budget), self.weight)

    def _paint(self, base: BaseModel, lesson: Lesson, number: int) -> Lesson:
        plain = [caption.replace(f"{lesson.token} ", "") for caption in lesson.captions]
        captions = tuple(plain[place % len(plain)] for place in range(self.pictures))
        first = PRIOR_SEEDS + self.pictures * number
        requests = [
            GenerationRequest(caption, seed=first + place, guidance=self.guidance)
            for place, caption in enumerate(captions)
        ]
        made = to_pictures(generate(base, plain_version(base), requests))
        return replace(lesson, pictures=tuple(made), captions=captions)
