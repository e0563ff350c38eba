"""Custom Diffusion's concepts learned alone: merged, each projection does on a concept's words what its own would."""

from typing import cast

import pytest
import torch
from torch import Tensor

from benchmarks.continual.custom_merged import (
    MergedCustomDiffusion,
    general_moment,
    merge_constrained,
    word_features,
)
from benchmarks.continual.gradient_fusion import second_moment
from benchmarks.continual.registry import all_methods
from cns.base_model import BaseModel
from cns.own_settings import load_usual_settings
from cns.phrases import load_calibration_prompts
from tests.benchmarks.lessons import budget, lesson

GENERAL = load_calibration_prompts()
METHOD = all_methods(load_usual_settings(), GENERAL, guidance=2.0)["custom-merged"]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_is_wanted_of_the_words_is_met_and_general_outputs_move_as_little_as_that_allows() -> None:
    weight, inputs, wanted, general = (
        drawn(6, 16, seed=0),
        drawn(4, 16, seed=1),
        drawn(4, 6, seed=2),
        drawn(40, 16, seed=3),
    )
    merged = merge_constrained(weight, second_moment(general), inputs, wanted)
    torch.testing.assert_close(inputs @ merged.T, wanted, rtol=0, atol=1e-3)
    moved = (general @ (merged - weight).T).norm()
    outside = torch.linalg.svd(inputs).Vh[len(inputs) :]  # changes along these meet what is wanted just as well
    for seed in range(5):
        other = merged + 0.05 * drawn(6, len(outside), seed=10 + seed) @ outside
        torch.testing.assert_close(inputs @ other.T, wanted, rtol=0, atol=1e-3)
        assert (general @ (other - weight).T).norm() > moved


def test_where_nothing_else_is_wanted_the_weight_stays() -> None:
    weight, inputs = drawn(6, 16, seed=0), drawn(4, 16, seed=1)
    merged = merge_constrained(weight, second_moment(drawn(40, 16, seed=3)), inputs, inputs @ weight.T)
    torch.testing.assert_close(merged, weight)


def test_more_than_there_are_directions_is_met_as_far_as_it_can_be() -> None:
    weight, inputs = drawn(6, 8, seed=0), drawn(30, 8, seed=1)
    target = drawn(6, 8, seed=2)
    merged = merge_constrained(weight, second_moment(drawn(40, 8, seed=3)), inputs, inputs @ target.T)
    torch.testing.assert_close(merged, target, rtol=0, atol=1e-3)


def test_each_concept_begins_at_the_base_and_its_words_are_read_by_all_merged_weights_as_by_its_own(
    sd1: BaseModel,
) -> None:
    options = {**METHOD.options, "lr_weights": 1e-2}
    both, alone = (cast(MergedCustomDiffusion, METHOD.start(sd1, budget(steps=2), options)) for _ in range(2))
    for taught in (lesson("rex", "dog", seed=1), lesson("tom", "cat", seed=2)):
        cost = both.learn(taught)
    alone.learn(lesson("tom", "cat", seed=2))
    noun, vectors, weights = both.taught["<tom>"]
    assert all(torch.equal(weights[layer], other) for layer, other in alone.taught["<tom>"][2].items())
    assert cost.fuse_bytes > sum(weight.nbytes for weight in weights.values())
    words = word_features(sd1, "<tom>", noun, vectors)
    for layer, merged in both.weights.items():
        own, base = weights[layer].double(), sd1.kv_weights[layer].detach().double()
        off = (words @ (merged.double() - own).T).norm()
        assert off < 0.1 * (words @ (base - own).T).norm()


def test_general_prompts_are_counted_whole(sd1: BaseModel) -> None:
    moment = general_moment(sd1, GENERAL[:2])
    hidden = sd1.text_features(list(GENERAL[:2])).hidden
    assert moment.trace() == pytest.approx(float(hidden.double().square().sum()))
