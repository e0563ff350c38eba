"""The four ways in which learning goes wrong, from measured numbers, in words for people who have never read a paper.

Each function takes numbers and returns one Finding. Likeness comes as a share: 0 is any thing of the class noun, 1 is
as like the pictures as these are like one another (`cns.metrics.Scale`), so the thresholds hold for any judge.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cns.remedies import LearnedWith, Signature, find_remedy
from cns.settings import check_kinds

Severity = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Thresholds:
    """From where on a number is worth a warning, and from where on it is bad. Shares, so 0.1 is 10 %.

    These are wide enough for the few pictures that an examination makes, on any base. A base may bring those that were
    measured on it in `diagnosis_thresholds.json` (cns/own_settings.py), as the storybook does.
    """

    underfitting_warn: float = 0.4  # share of the way reached, below
    underfitting_bad: float = 0.2
    least_width: float = 0.02  # a judge that sees less between noun and references (a cosine) cannot tell
    most_alike: float = 0.99  # references as alike as this among themselves (a cosine) are one picture
    similarity_warn: float = 0.95  # cosine of generic pictures with the base's own, below
    similarity_bad: float = 0.85
    alignment_warn: float = 0.05  # share of the base's CLIP-T lost, above
    alignment_bad: float = 0.15
    bleeding_warn: float = 0.15  # share of the way gone towards the new concept, or lost at its arrival, above
    bleeding_bad: float = 0.35
    forgetting_warn: float = 0.15  # share of the way lost since right after learning, above
    forgetting_bad: float = 0.35

    def __post_init__(self) -> None:
        check_kinds(self)
        low = (self.underfitting_warn, self.underfitting_bad), (self.similarity_warn, self.similarity_bad)
        high = (
            (self.alignment_warn, self.alignment_bad),
            (self.bleeding_warn, self.bleeding_bad),
            (self.forgetting_warn, self.forgetting_bad),
        )
        if any(bad > warn for warn, bad in low) or any(bad < warn for warn, bad in high):
            raise ValueError("What is bad must be worth a warning too.")


DEFAULT = Thresholds()


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for, and what was found.

    concept: whom it is about; None for what has to do with no concept.
    value, threshold: what was measured, and the limit that it crossed, or would have crossed first.
    sentence, remedy: for people, with concepts named by their tokens; the remedy is empty when nothing has to be done.
    changes: the remedy for programs: settings (`cns.settings.change_settings`) to learn the newest concept again with,
    on the version before it; empty when nothing has to be done or the settings used are not known.
    """

    signature: Signature
    concept: str | None
    value: float
    threshold: float
    severity: Severity
    sentence: str
    remedy: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Finding":
        """The finding that `to_json` wrote."""
        return cls(**data)


def find_underfitting(
    concept: str,
    class_noun: str,
    share: float,
    width: float,
    *,
    alike: float | None = None,
    learned: LearnedWith | None = None,
    pictures: int | None = None,
    limits: Thresholds = DEFAULT,
) -> Finding:
    """Whether the concept is hardly nearer to its pictures than any thing of its class noun.

    share: where its CLIP-I lies on its scale. width: the scale's width (a cosine). alike: `self_similarity` of the
    references, when known; of one picture alone, or many times the same, it is a top of the scale that no other picture
    of the concept can reach, not even a photograph.
    learned, pictures: what it was learned with, when known, to say what to change.
    """
    name = _named(concept)
    nobody = f"Nobody can say by numbers how well {name} was learned:"
    if alike is not None and alike >= limits.most_alike:
        what = "there is a single picture" if pictures == 1 else "your pictures are nearly one and the same"
        return Finding(
            "underfitting",
            concept,
            alike,
            limits.most_alike,
            "warn",
            f"{nobody} {what}, which does not tell how alike another one of it would be.",
            "Look at the pictures yourself. More of them, from other sides and in other places, would help to learn "
            "it, and to say how well it went.",
        )
    if width < limits.least_width:
        return Finding(
            "underfitting",
            concept,
            width,
            limits.least_width,
            "warn",
            f"{nobody} the judge sees hardly any difference between your pictures and any {class_noun}.",
            "Look at the pictures yourself. A judge that knows such things better would help, "
            "and so would clearer pictures.",
        )
    severity, threshold = _low(share, limits.underfitting_warn, limits.underfitting_bad)
    measured = f"{_percent(share)} of the way from any {class_noun} to your pictures"
    opening = {
        "ok": f"{name} was learned: its pictures have gone",
        "warn": f"{name} is only partly recognisable: its pictures have gone",
        "bad": f"{name} is hardly recognisable: its pictures have gone",
    }
    if severity == "ok":
        return Finding("underfitting", concept, share, threshold, severity, f"{opening[severity]} {measured}.", "")
    remedy = find_remedy("underfitting", learned)
    few = f" ({pictures} {'is' if pictures == 1 else 'are'} few)" if pictures is not None and pictures < 5 else ""
    return Finding(
        "underfitting",
        concept,
        share,
        threshold,
        severity,
        f"{opening[severity]} {measured}.",
        f"Learn {name} again with {remedy.words}. More pictures{few}, from other sides and in other places, help too.",
        remedy.changes,
    )


def find_zero_shot_damage(
    similarity: float,
    alignment_now: float,
    alignment_base: float,
    *,
    learned: LearnedWith | None = None,
    limits: Thresholds = DEFAULT,
) -> Finding:
    """Whether prompts that have nothing to do with any concept still give the pictures that the base gives.

    similarity: `cns.metrics.drift` of the generic pictures, base against now. alignment_*: their CLIP-T (raw cosines).
    The worse of the two counts; when they are equally bad, the drift is told.
    """
    lost = (alignment_base - alignment_now) / max(abs(alignment_base), 0.01)  # of a cosine that is 0.2 or more
    drifted, drift_threshold = _low(similarity, limits.similarity_warn, limits.similarity_bad)
    strayed, lost_threshold = _high(lost, limits.alignment_warn, limits.alignment_bad)
    tells_drift = _ORDER.index(drifted) >= _ORDER.index(strayed)
    severity = drifted if tells_drift else strayed
    if severity == "ok":
        sentence = (
            f"Everything else is drawn as before: other prompts give pictures {_percent(similarity)} alike to the "
            "untouched model's."
        )
    elif tells_drift:
        sentence = (
            f"The model draws other things {'very ' if severity == 'bad' else 'somewhat '}differently than before: "
            f"prompts that have nothing to do with your concepts give pictures only {_percent(similarity)} alike to "
            "the untouched model's."
        )
    else:
        sentence = (
            f"The model follows other prompts {'much ' if severity == 'bad' else 'somewhat '}less than before: the fit "
            f"between text and picture is down by {_percent(lost)}."
        )
    value, threshold = (similarity, drift_threshold) if tells_drift else (lost, lost_threshold)
    if severity == "ok":
        return Finding("zero-shot damage", None, value, threshold, severity, sentence, "")
    remedy = find_remedy("zero-shot damage", learned)
    told = f"Go back to the version before, then learn again with {remedy.words}."
    return Finding("zero-shot damage", None, value, threshold, severity, sentence, told, remedy.changes)


def find_bleeding(
    earlier: str,
    new: str,
    moved: float,
    lost: float,
    *,
    learned: LearnedWith | None = None,
    limits: Thresholds = DEFAULT,
) -> Finding:
    """Whether learning `new` has got into the pictures of a concept that was there before.

    moved: how far its pictures went towards the new concept's, as a share of the new concept's scale.
    lost: how much of its own likeness it lost by this one learning, as a share of its own scale.
    The larger of the two counts.
    """
    tells_move = moved >= lost
    value = moved if tells_move else lost
    severity, threshold = _high(value, limits.bleeding_warn, limits.bleeding_bad)
    name, newcomer = _named(earlier), _named(new)
    if severity == "ok":
        sentence = f"{name} has kept apart from {newcomer}."
    elif tells_move:
        sentence = (
            f"{name} {'is turning' if severity == 'bad' else 'has begun to turn'} into {newcomer}: its pictures have "
            f"gone {_percent(value)} of the way towards {newcomer}'s."
        )
    else:
        sentence = (
            f"Learning {newcomer} has {'badly harmed' if severity == 'bad' else 'touched'} {name}: it lost "
            f"{_percent(value)} of its likeness at once."
        )
    if severity == "ok":
        return Finding("bleeding", earlier, value, threshold, severity, sentence, "")
    remedy = find_remedy("bleeding", learned)
    told = f"Go back to the version before {newcomer} and learn it again with {remedy.words}."
    return Finding("bleeding", earlier, value, threshold, severity, sentence, told, remedy.changes)


def find_forgetting(
    concept: str,
    now: float,
    right_after: float,
    *,
    learned: LearnedWith | None = None,
    limits: Thresholds = DEFAULT,
) -> Finding:
    """Whether a concept is less like its pictures than right after it was learned; both as shares of its scale.

    learned: with what the newest concept was learned.
    """
    lost = right_after - now
    severity, threshold = _high(lost, limits.forgetting_warn, limits.forgetting_bad)
    name = _named(concept)
    told = (
        f"{name} was {_percent(right_after)} of the way to your pictures when it was learned and is {_percent(now)} now"
    )
    openings = {
        "ok": f"{name} is remembered",
        "warn": f"{name} is fading",
        "bad": f"{name} is mostly forgotten",
    }
    sentence = f"{openings[severity]}: {told}."
    if severity == "ok":
        return Finding("forgetting", concept, lost, threshold, severity, sentence, "")
    remedy = find_remedy("forgetting", learned)
    advice = (
        f"Go back to a version in which {name} was still right, and learn what came after it again with "
        f"{remedy.words}. Nothing is lost: old versions stay."
    )
    return Finding("forgetting", concept, lost, threshold, severity, sentence, advice, remedy.changes)


_ORDER: tuple[Severity, ...] = ("ok", "warn", "bad")


def _low(value: float, warn: float, bad: float) -> tuple[Severity, float]:
    """Severity of a number that should be high, and the limit that counts."""
    if value < bad:
        return "bad", bad
    return ("warn" if value < warn else "ok"), warn


def _high(value: float, warn: float, bad: float) -> tuple[Severity, float]:
    """Severity of a number that should be low, and the limit that counts."""
    if value > bad:
        return "bad", bad
    return ("warn" if value > warn else "ok"), warn


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-0 %", "0 %")


def _named(concept: str) -> str:
    """A concept as prompts name it, so that pages can set it apart."""
    return f"<{concept}>"
