"""Scores of features whose cosines are known beforehand."""

import math

import pytest
import torch
from torch import Tensor

from cns.metrics import MetricError, Scale, clip_i, clip_score, clip_t, drift, forgetting, self_similarity


def at(*degrees: float) -> Tensor:
    """Rows of length 1 at these angles, so that a cosine is that of the angle between."""
    radians = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_clip_i_is_the_mean_over_all_pairs() -> None:
    assert clip_i(at(0, 60), at(0, 90)) == pytest.approx((1 + 0 + 0.5 + math.cos(math.pi / 6)) / 4)


def test_clip_t_pairs_each_picture_with_its_own_text() -> None:
    assert clip_t(at(0, 60), at(60, 60)) == pytest.approx(0.75)


def test_the_clip_score_never_counts_below_zero() -> None:
    assert clip_score(at(0), at(0)) == pytest.approx(250)
    assert clip_score(at(0, 0), at(60, 180)) == pytest.approx(62.5)
    assert clip_t(at(0, 0), at(60, 180)) == pytest.approx(-0.25)


def test_the_papers_scale_puts_usual_cosines_between_seventy_and_eighty() -> None:
    assert clip_score(at(0), at(math.degrees(math.acos(0.3)))) == pytest.approx(75, abs=1e-3)


def test_what_has_not_changed_has_not_drifted() -> None:
    assert drift(at(10, 20), at(10, 20)) == pytest.approx(1)
    assert drift(at(0, 0), at(60, 0)) == pytest.approx(0.75)


def test_forgetting_is_below_zero_when_something_is_lost() -> None:
    assert forgetting(0.7, 0.8) == pytest.approx(-0.1)


def test_references_are_not_compared_with_themselves() -> None:
    assert self_similarity(at(0, 60)) == pytest.approx(0.5)
    assert self_similarity(at(0)) == 1.0


def test_a_scale_runs_from_the_noun_to_the_references() -> None:
    scale = Scale(noun=0.6, references=0.9)
    assert scale.share(0.6) == pytest.approx(0)
    assert scale.share(0.81) == pytest.approx(0.7)
    assert scale.share(0.9) == pytest.approx(1)
    assert scale.share(0.5) < 0


def test_a_scale_without_width_gives_finite_shares() -> None:
    assert Scale(noun=0.9, references=0.9).share(0.91) == pytest.approx(0.5)
    assert Scale(noun=0.95, references=0.9).share(0.95) == pytest.approx(0)


@pytest.mark.parametrize("metric", [clip_t, clip_score, drift])
def test_rows_without_a_partner_are_refused(metric: object) -> None:
    with pytest.raises(MetricError, match="cannot be paired"):
        metric(at(0, 1), at(0))  # type: ignore[operator]


@pytest.mark.parametrize(("left", "right"), [(at(), at(0)), (at(0), torch.zeros(1, 3)), (at(0)[0], at(0))])
def test_features_that_do_not_belong_together_are_refused(left: Tensor, right: Tensor) -> None:
    with pytest.raises(MetricError, match="cannot be compared"):
        clip_i(left, right)
