"""Scores from features: how like its references a concept is, how well pictures fit their texts, what has changed.

Features are rows of length 1 (float, any width), so that a dot product is a cosine in -1..1. Tensors in, numbers out.
CLIP's cosines use a narrow part of that range and mean nothing by themselves: compare them with a yardstick made by the
same judge on the same prompts, as `Scale` does. The paper prints 100 x CLIP-I, and CLIP-T as `clip_score`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cns.errors import CnsError


class MetricError(CnsError):
    """Features do not belong together, or there are none."""


def clip_i(generated: Tensor, references: Tensor) -> float:
    """CLIP-I: the mean cosine of every generated picture with every reference; -1..1, more is more alike.

    generated (n, width), references (m, width).
    """
    _check(generated, references)
    return float((generated.double() @ references.double().T).mean())


def clip_t(pictures: Tensor, texts: Tensor) -> float:
    """CLIP-T: the mean cosine of each picture with its own text; -1..1, more fits better.

    pictures (n, width), texts (n, width): row i belongs to row i.
    """
    return float(_paired(pictures, texts).mean())


def clip_score(pictures: Tensor, texts: Tensor) -> float:
    """CLIPScore (Hessel et al. 2021) in percent, the paper's scale for CLIP-T: mean of 100 x 2.5 x max(cos, 0); 0..250.

    pictures (n, width), texts (n, width): row i belongs to row i.
    """
    return float(250 * _paired(pictures, texts).clamp(min=0).mean())


def drift(before: Tensor, after: Tensor) -> float:
    """How alike pictures of the same prompts and seeds have stayed: mean cosine of each pair; -1..1, 1 is no drift.

    before (n, width), after (n, width): row i was made with the same prompt and seed as row i.
    """
    return float(_paired(before, after).mean())


def forgetting(now: float, right_after: float) -> float:
    """What a concept's CLIP-I has gained since right after it was learned; -2..2, below 0 is forgotten."""
    return now - right_after


def self_similarity(references: Tensor) -> float:
    """How alike the references are among themselves: mean cosine of different ones; -1..1, and 1 for a single one.

    references (m, width). No generated picture can be expected to be more alike to them than this.
    """
    count = len(references)
    if count == 1:
        return 1.0
    _check(references, references)
    cosines = references.double() @ references.double().T  # (m, m)
    others = ~torch.eye(count, dtype=torch.bool)
    return float(cosines[others].mean())


@dataclass(frozen=True)
class Scale:
    """A yardstick for CLIP-I that any judge can use: 0 at the class noun, 1 at the references among themselves.

    noun: CLIP-I of the class noun's pictures on the untouched base, made with the concept's prompts and seeds.
    references: `self_similarity` of the concept's references.
    """

    noun: float
    references: float

    @property
    def width(self) -> float:
        """How far apart the judge sees the concept and its class noun, as a cosine; 0 or less: it cannot tell."""
        return self.references - self.noun

    def share(self, score: float, least_width: float = 0.02) -> float:
        """Where a CLIP-I lies on the way from the class noun (0) to the references (1); may lie beyond either end.

        least_width: a narrower scale counts as this wide, as its shares would be noise.
        """
        return (score - self.noun) / max(self.width, least_width)


def _check(left: Tensor, right: Tensor) -> None:
    if left.ndim != 2 or right.ndim != 2 or not len(left) or not len(right) or left.shape[1] != right.shape[1]:
        raise MetricError(f"Features of shapes {tuple(left.shape)} and {tuple(right.shape)} cannot be compared.")


def _paired(left: Tensor, right: Tensor) -> Tensor:
    """(n, width), (n, width) -> the n cosines of rows with the same place."""
    _check(left, right)
    if len(left) != len(right):
        raise MetricError(f"{len(left)} rows cannot be paired with {len(right)}.")
    return (left.double() * right.double()).sum(dim=1)
