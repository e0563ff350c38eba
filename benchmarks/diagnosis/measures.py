"""What an examination measured, signature by signature, and what thresholds make of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from cns.diagnosis import (
    Finding,
    Severity,
    Thresholds,
    find_bleeding,
    find_forgetting,
    find_underfitting,
    find_zero_shot_damage,
)
from cns.examination import Examination
from cns.remedies import Signature


@dataclass(frozen=True)
class Measures:
    """The numbers that thresholds are about; of several earlier concepts the worst. Shares, but similarity (a cosine).

    width: of the scale on which `share` lies (a cosine).
    """

    share: float
    width: float
    similarity: float
    alignment_lost: float
    bleeding: float
    forgetting: float


def measures_of(examination: Examination) -> Measures:
    """Of a learning on top of at least one concept."""
    newcomer, zero_shot = examination.concepts[examination.concept], examination.zero_shot
    return Measures(
        share=newcomer.share,
        width=newcomer.scale.width,
        similarity=zero_shot.similarity_to_base,
        alignment_lost=(zero_shot.base_clip_t - zero_shot.clip_t) / max(abs(zero_shot.base_clip_t), 0.01),
        bleeding=_worst(examination.findings, "bleeding"),
        forgetting=_worst(examination.findings, "forgetting"),
    )


def _worst(findings: Iterable[Finding], signature: Signature) -> float:
    return max(finding.value for finding in findings if finding.signature == signature)


def judge(measures: Measures, limits: Thresholds) -> dict[Signature, Severity]:
    """How bad each signature is under these thresholds, by the very functions that judge a person's learning."""
    found = (
        find_underfitting("it", "thing", measures.share, measures.width, limits=limits),
        find_zero_shot_damage(measures.similarity, 1 - measures.alignment_lost, 1, limits=limits),
        find_bleeding("earlier", "it", measures.bleeding, measures.bleeding, limits=limits),
        find_forgetting("earlier", -measures.forgetting, 0, limits=limits),
    )
    return {finding.signature: finding.severity for finding in found}
