"""What an examination measured, as plain data that is stored with the version it was made of."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cns.diagnosis import Finding
from cns.errors import CnsError
from cns.metrics import Scale


class ExaminationError(CnsError):
    """An examination is asked for something that the versions do not have."""


@dataclass(frozen=True)
class ExaminationSettings:
    """Which pictures are made. Scores are comparable only between examinations with the same settings.

    templates: prompts about a concept; {} is "<rex> dog" for it and "dog" for its class noun. A manner of drawing is
        seen on some subject in each of them (`cns.wording.speak`).
    pictures_per_prompt: of each template. generic_pictures: one of each of the first so many generic prompts.
    steps, guidance, sampler, width_px, height_px: as in `cns.denoise.GenerationRequest`.

    With the defaults that is 14 pictures for the first concept and 6 more for each earlier one; with the pictures of
    the examination before at hand, 10 and 3.
    """

    templates: tuple[str, ...] = ("a photo of a {}", "a photo of a {} on the grass", "a photo of a {} in the snow")
    pictures_per_prompt: int = 1
    generic_pictures: int = 4
    seed: int = 1000
    steps: int = 20
    guidance: float = 5.0
    sampler: str = "ddim"
    width_px: int | None = None
    height_px: int | None = None

    def __post_init__(self) -> None:
        if not self.templates or any("{}" not in template for template in self.templates):
            raise ExaminationError("An examination needs prompts about a concept, each with {} in its place.")
        if self.pictures_per_prompt < 1 or self.generic_pictures < 1:
            raise ExaminationError("An examination needs at least one picture of each kind.")


@dataclass(frozen=True)
class ConceptScores:
    """How well one concept does under one version, and its yardstick: its class noun on the untouched base.

    clip_i: likeness to the references (cosine). clip_t: fit to the prompt in plain words (cosine); clip_score: the same
    as 100 x 2.5 x max(cos, 0). noun_clip_i, noun_clip_t: those of the class noun's pictures, same prompts and seeds.
    reference_similarity: likeness of the references among themselves.
    comparable_with: scores are comparable when this is equal: same base, encoders, class noun and settings.
    """

    clip_i: float
    clip_t: float
    clip_score: float
    noun_clip_i: float
    noun_clip_t: float
    reference_similarity: float
    comparable_with: str

    @property
    def scale(self) -> Scale:
        """0 at the class noun, 1 at the references among themselves."""
        return Scale(self.noun_clip_i, self.reference_similarity)

    @property
    def share(self) -> float:
        """Likeness as a share of the way from the class noun to the references."""
        return self.scale.share(self.clip_i)


@dataclass(frozen=True)
class ZeroShotScores:
    """How prompts that name no concept do. base_clip_t: the untouched base's own. Raw cosines but for clip_score.

    similarity_to_base: mean cosine with the base's pictures of the same prompts and seeds; 1 is unchanged.
    """

    clip_t: float
    clip_score: float
    base_clip_t: float
    similarity_to_base: float


@dataclass(frozen=True)
class Examination:
    """What was measured after learning `concept`, and what it means.

    concepts: name -> scores under the version after, of the new concept and every earlier one.
    """

    concept: str
    concepts: Mapping[str, ConceptScores]
    zero_shot: ZeroShotScores
    findings: tuple[Finding, ...]
    settings: ExaminationSettings

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON. Each concept's share is written too, for those who read the file."""
        return {
            "concept": self.concept,
            "concepts": {name: {**asdict(scores), "share": scores.share} for name, scores in self.concepts.items()},
            "zero_shot": asdict(self.zero_shot),
            "findings": [finding.to_json() for finding in self.findings],
            "settings": {**asdict(self.settings), "templates": list(self.settings.templates)},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Examination":
        """The examination that `to_json` wrote; ExaminationError when it is something else."""
        try:
            scores = {
                name: ConceptScores(**{key: value for key, value in values.items() if key != "share"})
                for name, values in data["concepts"].items()
            }
            settings = {**data["settings"], "templates": tuple(data["settings"]["templates"])}
            return cls(
                data["concept"],
                scores,
                ZeroShotScores(**data["zero_shot"]),
                tuple(Finding.from_json(finding) for finding in data["findings"]),
                ExaminationSettings(**settings),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ExaminationError(f"This is no examination: {error}.") from error


def findings_without(findings: Iterable[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Findings as JSON, without those that name the concept."""
    token = f"<{name}>"
    return [
        dict(finding)
        for finding in findings
        if finding["concept"] != name and token not in finding["sentence"] and token not in finding["remedy"]
    ]


def examination_without(examination: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An examination as JSON, without what it says of an earlier concept; empty as it was, where nothing was measured.

    What it says of all others holds for a line that goes on without that concept: scores right after they were learned.
    """
    if not examination:
        return {}
    concepts = {other: scores for other, scores in examination["concepts"].items() if other != name}
    return {**examination, "concepts": concepts, "findings": findings_without(examination["findings"], name)}
