"""The low-rank methods of the benchmark learn several concepts in order and leave the shared base as it was."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.continual.adapter_learning import FusedLearner, OneToken, Rates, learn_concept
from benchmarks.continual.c_lora import forgetting_penalty
from benchmarks.continual.low_rank import ATTENTION, LowRank, find_projections, start_adapters
from benchmarks.continual.low_rank_methods import low_rank_methods
from benchmarks.continual.method import Learner
from benchmarks.continual.mix_of_show import MixOfShow, prompts_of, text_inputs
from cns.base_model import BaseModel
from cns.denoise import GenerationRequest
from cns.kv import keys_and_values
from cns.settings import LearningSettings
from tests.benchmarks.lessons import budget, lesson

METHODS = {method.name: method for method in low_rank_methods(LearningSettings())}
EACH = pytest.mark.parametrize("name", METHODS)
FAST = {"lr_weights": 0.02, "lr_token": 0.02}
REX, TOM = lesson("rex", "dog"), lesson("tom", "cat", seed=1)


def start(name: str, base: BaseModel, steps: int = 2, **changes: float) -> Learner:
    method = METHODS[name]
    options = {**FAST, **({"fusion_steps": 2} if "fusion_steps" in method.options else {}), **changes}
    learner = method.start(base, budget(steps=steps), method.with_options(options))
    assert not hasattr(learner, "learn_all")
    return learner  # type: ignore[return-value]


def paint(learner: Learner, prompt: str) -> Tensor:
    return learner.painter().paint([GenerationRequest(prompt, steps=2)])[0]


@EACH
def test_a_method_learns_concept_after_concept(name: str, sd1: BaseModel) -> None:
    learner = start(name, sd1)
    untouched = paint(learner, "a photo of a dog")
    first = learner.learn(REX)
    alone = paint(learner, "a photo of a <rex> dog")
    second = learner.learn(TOM)
    together = paint(learner, "a photo of a <rex> dog and a <tom> cat")
    assert together.isfinite().all()
    assert not torch.equal(alone, untouched)
    assert first.trained_parameters == second.trained_parameters > 0
    assert first.stored_bytes == second.stored_bytes > 0
    assert (second.fuse_bytes > first.fuse_bytes > 0) is (METHODS[name].kind == "fused")


@EACH
def test_the_same_seed_learns_the_same(name: str, sd1: BaseModel) -> None:
    pictures = []
    for _ in range(2):
        learner = start(name, sd1)
        learner.learn(REX)
        pictures.append(paint(learner, "a photo of a <rex> dog"))
    assert torch.equal(*pictures)


@EACH
def test_tuning_tries_the_options_that_a_method_has_and_the_defaults_too(name: str) -> None:
    method = METHODS[name]
    assert method.search_space.keys() <= method.options.keys()
    for option, values in method.search_space.items():
        assert len(set(values)) == len(values) > 1
        assert method.options[option] in values
    assert method.options["rank"] == 4


def test_a_learning_lowers_its_loss(sd1: BaseModel) -> None:
    """Against the same steps, with the same pictures, times and noise, in which nothing moves."""
    last = []
    for rate in (0.02, 0.0):
        adapters = start_adapters(find_projections(sd1.unet, ATTENTION), 4, 1.0, torch.Generator().manual_seed(0))
        token = OneToken(REX, sd1.token_vectors("dog"), sd1.device)
        losses = learn_concept(sd1, REX, budget(steps=16), adapters, token, Rates(rate, rate)).losses
        last.append(sum(losses[-6:]))
    assert last[0] < 0.97 * last[1]


def test_gradient_fusion_keeps_what_each_concept_alone_made_of_its_words(sd1: BaseModel) -> None:
    learner = start("mix-of-show", sd1, steps=8, ridge=1e-6)
    assert isinstance(learner, MixOfShow)
    alone = {}
    for taught in (REX, TOM):
        learner.learn(taught)
        one = learner.taught[-1]
        features = text_inputs(learner.layerwise, prompts_of(one), one.tokens)
        alone[taught.name] = (features, one.changes)
    weights = learner.painter().base.plain.kv_weights  # type: ignore[attr-defined]
    for features, changes in alone.values():
        for place, layer in enumerate(learner.layerwise.layers):
            value = f"{layer}.to_v"
            change = changes[value].dense()
            wanted = features[place] @ (sd1.kv_weights[value] + change).T
            assert (features[place] @ change.T).norm() > 0.05 * wanted.norm(), "the concept did not learn"
            assert (features[place] @ weights[value].T - wanted).norm() < 0.01 * wanted.norm()


def test_concepts_of_a_fused_method_are_learned_the_same_in_any_order(sd1: BaseModel) -> None:
    forth, back = start("lora-merged", sd1), start("lora-merged", sd1)
    for first, second in zip((REX, TOM), (TOM, REX), strict=True):
        forth.learn(first)
        back.learn(second)
    assert isinstance(forth, FusedLearner)
    assert isinstance(back, FusedLearner)
    rex, again = forth.taught[0].changes, back.taught[1].changes
    assert all(torch.equal(rex[name].dense(), again[name].dense()) for name in rex)


def test_merging_by_addition_takes_its_share_of_each(sd1: BaseModel) -> None:
    learner = start("lora-merged", sd1, share=0.5)
    learner.learn(REX)
    learner.learn(TOM)
    assert isinstance(learner, FusedLearner)
    name = next(iter(sd1.kv_weights))
    total = 0.5 * (learner.taught[0].changes[name].dense() + learner.taught[1].changes[name].dense())
    assert torch.allclose(learner.painter().base.kv_weights[name], sd1.kv_weights[name] + total, atol=1e-6)


def test_one_adapter_is_trained_on_and_on(sd1: BaseModel) -> None:
    """What the second concept is learned with begins where the first one ended."""
    learner = start("lora-sequential", sd1, steps=1, lr_weights=1e-4)
    name = next(iter(sd1.kv_weights))
    learner.learn(REX)
    first = learner.painter().base.kv_weights[name] - sd1.kv_weights[name]
    learner.learn(TOM)
    second = learner.painter().base.kv_weights[name] - sd1.kv_weights[name]
    assert torch.cosine_similarity(first.flatten(), second.flatten(), dim=0) > 0.5
    assert not torch.equal(first, second)


def test_orthogonal_adapters_read_only_their_own_directions(sd1: BaseModel) -> None:
    learner = start("orthogonal-adaptation", sd1)
    learner.learn(REX)
    learner.learn(TOM)
    assert isinstance(learner, FusedLearner)
    shared = []
    for name, stored in learner.taught[0].changes.items():
        change, other = stored.dense(), learner.taught[1].changes[name].dense()
        shared.append((change @ other.T).norm() / (change.norm() * other.norm()))
    assert sorted(shared)[len(shared) // 2] < 0.01, "in most layers two concepts drew different directions"


def test_the_penalty_weighs_changes_by_what_earlier_concepts_changed() -> None:
    adapter = LowRank(torch.eye(2), 2)
    adapter.up.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    earlier = torch.tensor([[0.0, -1.0], [2.0, 0.0]])
    assert forgetting_penalty({"a": adapter}, {"a": earlier}).item() == pytest.approx(2.0**2 + 6.0**2)


def test_a_firm_penalty_keeps_a_later_concept_off_what_an_earlier_one_changed(sd1: BaseModel) -> None:
    moved = []
    for firmness in (0.0, 1e8):
        learner = start("c-lora", sd1, steps=6, firmness=firmness)
        learner.learn(REX)
        before = dict(learner.painter().version.weights)
        learner.learn(TOM)
        after = learner.painter().version.weights
        touched = [((after[name] - before[name]) * (before[name] - sd1.kv_weights[name])).norm() for name in before]
        moved.append(sum(touched))
    assert moved[1] < 0.5 * moved[0]


def test_c_lora_does_not_say_the_noun_unless_it_is_told_to(sd1: BaseModel) -> None:
    for says_noun, read in ((0, "a photo of a <rex> on grass"), (1, "a photo of a <rex> dog on grass")):
        learner = start("c-lora", sd1, says_noun=says_noun)
        learner.learn(REX)
        assert learner.painter().read("a photo of a <rex> dog on grass") == read


def test_two_concepts_of_one_noun_start_apart_in_c_lora(sd1: BaseModel) -> None:
    learner = start("c-lora", sd1, lr_token=0.0)
    learner.learn(REX)
    learner.learn(replace(TOM, class_noun="dog", captions=tuple(c.replace("cat", "dog") for c in TOM.captions)))
    [first], [second] = learner.painter().version.tokens.values()
    assert torch.cosine_similarity(first, second, dim=0).abs() < 0.6


def test_trained_numbers_and_kept_bytes_are_counted(sd1: BaseModel) -> None:
    projections = find_projections(sd1.unet, ATTENTION).values()
    both = sum(4 * (one.in_features + one.out_features) for one in projections)
    width, layers = 32, len(sd1.kv_weights) // 2
    plain = start("lora-merged", sd1).learn(REX)
    assert (plain.trained_parameters, plain.stored_bytes) == (both + width, 2 * both + 4 * width)
    extended = start("mix-of-show", sd1).learn(REX)
    tokens = 2 * layers * width
    assert (extended.trained_parameters, extended.stored_bytes) == (both + tokens, 2 * both + 4 * tokens)
    up = sum(4 * one.out_features for one in projections)
    fixed = start("orthogonal-adaptation", sd1).learn(REX)
    drawn = 4 * len(projections)
    assert (fixed.trained_parameters, fixed.stored_bytes) == (up + tokens, 2 * (up + drawn) + 4 * tokens)


@pytest.mark.parametrize("name", ["mix-of-show", "c-lora"])
def test_a_base_with_two_text_encoders_can_be_taught_too(name: str, sdxl: BaseModel) -> None:
    learner = start(name, sdxl)
    learner.learn(REX)
    assert paint(learner, "a photo of a <rex> dog").isfinite().all()


def test_keys_and_values_of_a_concept_are_taken_at_its_tokens_and_the_ends(sd1: BaseModel) -> None:
    learner = start("mix-of-show", sd1)
    learner.learn(REX)
    assert isinstance(learner, MixOfShow)
    one = learner.taught[0]
    assert prompts_of(one) == ["photo of a <rex> <rex--noun>", "<rex> <rex--noun>"]
    inputs = text_inputs(learner.layerwise, prompts_of(one), one.tokens)
    assert inputs.shape == (len(learner.layerwise.layers), 6, 32)
    kv = keys_and_values(
        learner.layerwise.kv_weights, learner.layerwise.text_features(["<rex> <rex--noun>"], one.tokens).hidden
    )
    layer = learner.layerwise.layers[1]
    assert torch.allclose(inputs[1][2] @ sd1.kv_weights[f"{layer}.to_k"].T, kv[layer][0][0, 1], atol=1e-5)
