"""What is asked of a model after every concept: fixed prompts with fixed seeds, the same of every method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.continual.streams import Composition, Stream, StreamConcept
from cns.denoise import GenerationRequest
from cns.own_settings import GenerationSettings

CONCEPT_SEEDS, COMPOSITION_SEEDS, GENERIC_SEEDS = 1_000, 20_000, 30_000


@dataclass(frozen=True)
class Asking:
    """How pictures are asked for. concept_seeds, composition_seeds: pictures of each prompt."""

    generation: GenerationSettings
    concept_seeds: int = 2
    composition_seeds: int = 3

    def of_concept(self, concept: StreamConcept, subject: str) -> list[GenerationRequest]:
        """Every prompt about `subject`; the noise of a prompt does not depend on who is asked for."""
        return [
            self._request(prompt.about(subject), CONCEPT_SEEDS + self.concept_seeds * place + turn)
            for place, prompt in enumerate(concept.prompts)
            for turn in range(self.concept_seeds)
        ]

    def of_composition(
        self, composition: Composition, stream: Stream, subjects: Mapping[str, str] | None = None
    ) -> list[GenerationRequest]:
        """One prompt with all its concepts, called by their tokens or by `subjects`."""
        called = subjects or {concept.name: concept.subject for concept in stream.concepts}
        prompt = composition.about(called)
        first = COMPOSITION_SEEDS + self.composition_seeds * stream.compositions.index(composition)
        return [self._request(prompt, first + turn) for turn in range(self.composition_seeds)]

    def of_nobody(self, prompts: Sequence[str]) -> list[GenerationRequest]:
        """Prompts that name no concept, one picture each."""
        return [self._request(prompt, GENERIC_SEEDS + place) for place, prompt in enumerate(prompts)]

    def _request(self, prompt: str, seed: int) -> GenerationRequest:
        made = self.generation
        return GenerationRequest(prompt, seed=seed, steps=made.steps, guidance=made.guidance, sampler=made.sampler)
