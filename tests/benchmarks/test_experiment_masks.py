"""What masks have in common is counted as it is named, and traced to weights or features."""

import pytest
import torch
from torch import Tensor

from benchmarks.experiments.masks import (
    channel_norms,
    decided_by_weights,
    jaccard,
    layer_overlaps,
    mean_overlap,
    norm_correlation,
    shared_by_all,
    shared_channels,
    spread_of_norms,
    spread_of_weights,
)
from cns.settings import SelectionSettings
from cns.text import TextFeatures


def mask(*entries: int, size: int = 6) -> dict[str, Tensor]:
    made = torch.zeros(1, size, dtype=torch.bool)
    made[0, list(entries)] = True
    return {"layer": made}


def random_features(prompts: int = 3, width: int = 40, seed: int = 0) -> TextFeatures:
    generator = torch.Generator().manual_seed(seed)
    own = torch.tensor([[True, True, False]] * prompts)
    return TextFeatures(torch.randn(prompts, 3, width, generator=generator), own, None)


def test_the_jaccard_index_is_the_share_of_both_in_either() -> None:
    assert jaccard(mask(0, 1, 2), mask(1, 2, 3)) == pytest.approx(2 / 4)
    assert jaccard(mask(0), mask(1)) == 0
    assert jaccard(mask(), mask()) == 1


def test_the_mean_overlap_is_over_all_pairs() -> None:
    assert mean_overlap([mask(0, 1), mask(1, 2), mask(2, 3)]) == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)


def test_what_all_share_is_less_than_what_two_share() -> None:
    masks = [mask(0, 1, 2), mask(0, 1, 3), mask(0, 2, 3)]
    assert shared_by_all(masks) == pytest.approx(1 / 3)
    assert mean_overlap(masks) == pytest.approx(2 / 3)


def test_overlaps_are_told_layer_by_layer() -> None:
    first, second = {**mask(0, 1), "other": torch.ones(1, 2, dtype=torch.bool)}, mask(1, 2)
    second["other"] = torch.ones(1, 2, dtype=torch.bool)
    assert layer_overlaps([first, second]) == {"layer": [0.5], "other": [1.0]}


def test_weights_decide_everything_where_all_channels_are_equally_strong() -> None:
    weights = {"layer": torch.randn(8, 40, generator=torch.Generator().manual_seed(1))}
    even = TextFeatures(torch.ones(2, 3, 40), torch.ones(2, 3, dtype=torch.bool), None)
    assert decided_by_weights(weights, even, SelectionSettings()) == 1
    assert decided_by_weights(weights, random_features(), SelectionSettings()) < 1


def test_equal_prompts_share_all_their_channels_and_others_only_some() -> None:
    norms = channel_norms(random_features(), own=True)
    assert shared_channels(norms[:1].repeat(3, 1), 0.3) == 1
    assert shared_channels(norms, 0.3) < 0.8


def test_norms_over_own_tokens_leave_the_padding_out() -> None:
    features = random_features()
    assert not torch.equal(channel_norms(features, own=True), channel_norms(features, own=False))
    alike = TextFeatures(features.hidden[:1].repeat(2, 1, 1), features.own[:2], None)
    assert norm_correlation(channel_norms(alike, own=True)) == pytest.approx(1)


def test_a_scale_does_not_spread_weights_or_norms() -> None:
    weights = {"layer": torch.randn(8, 40, generator=torch.Generator().manual_seed(1))}
    scaled = {layer: 10 * weight for layer, weight in weights.items()}
    assert spread_of_weights(scaled) == pytest.approx(spread_of_weights(weights), rel=1e-4)
    assert spread_of_norms(torch.full((2, 5), 3.0)) == pytest.approx(0)
