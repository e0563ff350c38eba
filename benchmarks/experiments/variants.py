"""Settings that experiments compare, as changes to the base's own (`Workshop.settings_with`).

Their subject is a model whose weights all prompts share, so values reach everywhere but where a variant says otherwise.
"""

from collections.abc import Mapping
from typing import Any

from cns.settings import LearningSettings

OURS: Mapping[str, Any] = {}
"""The published method with what is ours, drift and interference and the token first, as the base has them."""

AT_TOKEN: Mapping[str, Any] = {"reach": "token"}
"""Values that apply at the concept's token alone, with the base's settings for that (docs/decisions/0023)."""

PUBLISHED: Mapping[str, Any] = {
    "drift": 0.0,
    "interference": 0.0,
    "token_first": 0.0,
    "l1": LearningSettings.l1,
    "l2": LearningSettings.l2,
}
"""The loss of the paper (Eq. 7) with the weights that the library has for it, and nothing of ours."""

UNGUARDED: Mapping[str, Any] = {"drift": 0.0, "interference": 0.0, "token_first": 0.0, "l1": 0.0, "l2": 0.0}
"""The denoising loss alone: L_reg = 0."""

NOTICEABLE_WAY = 0.05
"""Differences in the way below this are not told as differences: another seed alone moves it by 0.03
(docs/decisions/0011)."""

NOTICEABLE_SIMILARITY = 0.01
"""The same for the similarity of general pictures, which moved by 0.008 there."""
