"""How like its real renders each concept is under a version, and how much general prompts have moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.kept import digest_of
from benchmarks.learning import renders
from benchmarks.unlearning.lines import Experiment, Line
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, generate, to_pictures
from cns.judge import ImageEncoder
from cns.metrics import clip_i, drift, self_similarity
from cns.phrases import load_generic_prompts

PLACES = ("on the grass", "at night", "in front of a brick wall", "in the snow")
COMPARED_WITH = 8  # renders of each individual, none of which it was learned from
GENERIC_SEED = 900


@dataclass(frozen=True)
class Measure:
    """How pictures are made and judged.

    likeness: tells individuals apart. clip: sees what words can say. seeds: pictures of each place.
    """

    likeness: ImageEncoder
    clip: ImageEncoder
    seeds: int = 3
    generic: int = 16
    steps: int = 20
    guidance: float = 4.0

    def key(self, base_folder: Path) -> str:
        """Of all that decides the figures of a line: those in memory under another key are of another measure."""
        facts = {
            "judges": [self.likeness.id, self.clip.id],
            "pictures": [self.seeds, self.generic, self.steps, self.guidance],
            "places": PLACES,
            "prompts": load_generic_prompts(base_folder)[: self.generic],
        }
        return digest_of(facts)[:16]

    def references(self, experiment: Experiment) -> dict[str, Tensor]:
        """Name -> (COMPARED_WITH, width) features of real renders."""
        return {
            who.name: self.likeness.image_features(renders(who, COMPARED_WITH, seed=77))
            for who in experiment.individuals
        }

    def fidelity(self, experiment: Experiment, version: Version, called: str, references: Tensor) -> float:
        """Mean cosine of the pictures of `called` ("<rex> dog", "dog") with real renders; 1 is alike."""
        requests = [
            GenerationRequest(
                f"a photo of a {called} {place}", seed=50 + 10 * seed, steps=self.steps, guidance=self.guidance
            )
            for place in PLACES
            for seed in range(self.seeds)
        ]
        pictures = to_pictures(generate(experiment.base, version, requests))
        return clip_i(self.likeness.image_features(pictures), references)

    def generic_features(self, experiment: Experiment, version: Version) -> Tensor:
        """(n, width) CLIP features of pictures of prompts that name no concept."""
        prompts = load_generic_prompts(experiment.base_folder)[: self.generic]
        requests = [
            GenerationRequest(prompt, seed=GENERIC_SEED + place, steps=self.steps, guidance=self.guidance)
            for place, prompt in enumerate(prompts)
        ]
        return self.clip.image_features(torch.stack(generate(experiment.base, version, requests)))


def measure_base(experiment: Experiment, measure: Measure) -> dict[str, Any]:
    """The yardsticks: each class noun on the untouched base, and real renders among each other."""
    untouched, references = compose(experiment.base), measure.references(experiment)
    return {
        "noun": {
            who.name: measure.fidelity(experiment, untouched, who.noun, references[who.name])
            for who in experiment.individuals
        },
        "real": {name: self_similarity(own) for name, own in references.items()},
        "generic": measure.generic_features(experiment, untouched).tolist(),
    }


def measure_line(
    experiment: Experiment, measure: Measure, line: Line, whole: Line, generic_before: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """What the end of a line can still draw.

    concepts: of all that it knows. noun: of the forgotten one's class noun, which is all that a prompt can say of it
    now. stolen: of its old token, put back by somebody who had kept it; what the weights then still give of it.
    """
    version, references = compose(experiment.base, line.deltas), measure.references(experiment)
    lost = experiment.find(experiment.forgotten)
    with_token = _with_tokens_of(version, compose(experiment.base, whole.deltas))
    known = [who for who in experiment.individuals if f"<{who.name}>" in version.tokens]
    generic = measure.generic_features(experiment, version)
    return {
        "concepts": {
            who.name: measure.fidelity(experiment, version, f"<{who.name}> {who.noun}", references[who.name])
            for who in known
        },
        "noun": measure.fidelity(experiment, version, lost.noun, references[lost.name]),
        "stolen": measure.fidelity(experiment, with_token, f"<{lost.name}> {lost.noun}", references[lost.name]),
        "generic": drift(torch.tensor(generic_before), generic),
        "bytes": sum(len(delta.to_bytes()) for delta in line.deltas),
        "seconds": line.seconds,
    }


def _with_tokens_of(version: Version, other: Version) -> Version:
    tokens: Mapping[str, Any] = {**other.tokens, **version.tokens}
    return replace(version, tokens=tokens)
