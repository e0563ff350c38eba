"""Whether a learning did damage: something that was right before it is not right after it.

Underfitting is no damage, as everything else is as it was; nor is a warning, which the few pictures of an examination
can give by chance. Zero-shot damage and forgetting are measured against the base and against the day of learning, so a
version inherits them from the one below: they count only when this learning made them worse.
"""

from collections.abc import Iterable, Sequence

from cns.diagnosis import Finding
from cns.remedies import Signature

DAMAGING: tuple[Signature, ...] = ("zero-shot damage", "bleeding", "forgetting")
WORSE = 0.05  # of a share or a cosine: nearer to the version below, pictures tell nothing apart


def find_damage(findings: Iterable[Finding], before: Sequence[Finding] = ()) -> tuple[Finding, ...]:
    """The findings that say this learning did damage, in their order; empty when it may become head.

    before: what was found at the version it was learned on.
    """
    return tuple(
        finding
        for finding in findings
        if finding.signature in DAMAGING and finding.severity == "bad" and not _was_there(finding, before)
    )


def _was_there(finding: Finding, before: Iterable[Finding]) -> bool:
    """Whether the version below had the same damage, and hardly less of it. Bleeding is always of one learning."""
    if finding.signature == "bleeding":
        return False
    return any(
        (one.signature, one.concept, one.severity) == (finding.signature, finding.concept, "bad")
        and _bad_side(one) == _bad_side(finding)
        and _bad_side(finding) * (finding.value - one.value) <= WORSE
        for one in before
    )


def _bad_side(finding: Finding) -> int:
    """Of a bad finding: 1 where high values are bad, -1 where low ones are. It tells drift from lost alignment, too."""
    return 1 if finding.value > finding.threshold else -1
