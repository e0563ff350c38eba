"""Every method learns concept after concept on a tiny base, and leaves the shared base alone."""

from dataclasses import replace
from typing import cast

import pytest
import torch

from benchmarks.continual.method import JointLearner, Learner, Method, Painter
from benchmarks.continual.prior import Prior
from benchmarks.continual.registry import UnknownMethod, all_methods, choose
from cns.base_model import BaseModel
from cns.denoise import GenerationRequest
from cns.own_settings import load_usual_settings
from cns.phrases import load_calibration_prompts
from tests.benchmarks.lessons import budget, lesson

METHODS = all_methods(load_usual_settings(), load_calibration_prompts(), guidance=2.0)
LESSONS = (lesson("rex", "dog", seed=1), lesson("tom", "cat", seed=2))
REQUESTS = [GenerationRequest(f"a photo of a <{one.name}> {one.class_noun}", steps=1) for one in LESSONS]


def start(method: Method, base: BaseModel) -> Learner | JointLearner:
    fast = {name: 1.0 for name in ("prior_pictures", "fusion_steps") if name in method.options}
    return method.start(base, budget(steps=1, batch=2), method.with_options(fast))


def learn(method: Method, base: BaseModel, count: int = 2) -> Painter:
    learner = start(method, base)
    if method.kind == "joint":
        joint = cast(JointLearner, learner)
        joint.learn_all(LESSONS[:count])
        return joint.painter()
    one_by_one = cast(Learner, learner)
    for taught in LESSONS[:count]:
        one_by_one.learn(taught)
    return one_by_one.painter()


@pytest.mark.parametrize("method", [m for m in METHODS.values() if m.kind != "joint"], ids=lambda m: m.name)
def test_a_method_learns_on_and_neither_the_base_nor_an_earlier_painter_changes(method: Method, sd1: BaseModel) -> None:
    before = sd1.checksum()
    learner = cast(Learner, start(method, sd1))
    learner.learn(LESSONS[0])
    painter = learner.painter()
    painted = painter.paint(REQUESTS[:1])[0]
    learner.learn(LESSONS[1])
    assert [picture.shape for picture in learner.painter().paint(REQUESTS)] == [(3, 16, 16)] * 2
    assert torch.equal(painter.paint(REQUESTS[:1])[0], painted)
    assert sd1.checksum() == before


@pytest.mark.parametrize("name", ["custom-joint", "dreambooth-joint"])
def test_a_joint_method_learns_all_lessons_at_once(name: str, sd1: BaseModel) -> None:
    pictures = learn(METHODS[name], sd1).paint(REQUESTS)
    assert not torch.equal(pictures[0], pictures[1])


@pytest.mark.parametrize("name", ["cns-random", "custom", "dreambooth-prior"])
def test_a_method_repeats_itself_to_the_bit(name: str, sd1: BaseModel) -> None:
    first, second = (learn(METHODS[name], sd1, count=1).paint(REQUESTS[:1])[0] for _ in range(2))
    assert torch.equal(first, second)


def test_only_textual_inversion_and_the_base_leave_general_prompts_exactly_as_they_were(sd1: BaseModel) -> None:
    request = [GenerationRequest("a photo of the house", steps=1)]
    plain = learn(METHODS["base"], sd1).paint(request)[0]
    names = ("base", "textual-inversion", "cns", "custom", "dreambooth")
    same = [name for name in names if torch.equal(learn(METHODS[name], sd1, count=1).paint(request)[0], plain)]
    assert same == ["base", "textual-inversion"]


def test_textual_inversion_as_ours_draws_it_learns_the_words_that_it_learns_by_itself(sd1: BaseModel) -> None:
    learner = cast(Learner, start(METHODS["textual-inversion-drawn"], sd1))
    cost = learner.learn(LESSONS[0])
    version = learner.painter().version
    assert cost.trained_parameters == sum(vector.numel() for vector in version.tokens["<rex>"])
    assert version.deltas[0].size == 0
    plain = learn(METHODS["textual-inversion"], sd1, count=1).version
    rate = METHODS["textual-inversion"].options, METHODS["textual-inversion-drawn"].options
    assert rate[0] == rate[1]
    torch.testing.assert_close(version.tokens["<rex>"], plain.tokens["<rex>"])


def test_ours_drawn_as_by_all_others_lets_concepts_mix_and_guides_every_level(sd1: BaseModel) -> None:
    together = [GenerationRequest("a photo of a <rex> dog and a <tom> cat", steps=1, seed=1)]
    ours, plain = (learn(METHODS[name], sd1) for name in ("cns-local", "cns-local-plain"))
    assert not torch.equal(ours.paint(together)[0], plain.paint(together)[0])
    mixed = replace(ours, apart=False).paint(together)[0]
    assert torch.equal(mixed, plain.paint(together)[0]), "what is learned is the same"
    assert {delta.settings["wide_guided"] for delta in plain.version.deltas} == {1.0}


def test_a_prior_is_of_the_class_and_moves_what_is_learned(sd1: BaseModel) -> None:
    prior = Prior(pictures=3, weight=0.5, guidance=1.0)
    beside = prior.paint(sd1, LESSONS, budget(), learned=0)
    assert beside is not None
    assert len(beside.examples.latents) == 6
    assert beside.weight == 0.5
    assert not [caption for caption in beside.examples.captions if "<" in caption]
    assert replace(prior, weight=0.0).paint(sd1, LESSONS, budget(), learned=0) is None
    options = METHODS["custom"].with_options({"lr_weights": 0.01})
    without, held = (
        METHODS["custom"].start(sd1, budget(steps=2), {**options, "prior_weight": weight}) for weight in (0.0, 1.0)
    )
    for learner in (without, held):
        cast(Learner, learner).learn(LESSONS[0])
    assert not torch.equal(*(one.painter().paint(REQUESTS[:1])[0] for one in (without, held)))


def test_the_base_alone_reads_a_concept_as_its_class(sd1: BaseModel) -> None:
    painter = learn(METHODS["base"], sd1)
    assert painter.read("a <tom> cat next to a <rex> dog at night") == "a cat next to a dog at night"


def test_a_concept_costs_what_is_trained_for_it(sd1: BaseModel) -> None:
    def cost(name: str) -> tuple[int, int]:
        learner = cast(Learner, METHODS[name].start(sd1, budget(steps=1), METHODS[name].options))
        paid = learner.learn(LESSONS[0])
        return paid.trained_parameters, paid.stored_bytes

    all_kv = sum(weight.numel() for weight in sd1.kv_weights.values())
    assert cost("textual-inversion") == (32, 128)
    assert cost("custom") == (all_kv + 32, 2 * all_kv + 128)
    assert cost("dreambooth")[0] == sum(p.numel() for p in sd1.unet.parameters()) + 32
    assert 32 < cost("cns")[0] < all_kv
    assert cost("base") == (0, 0)


def test_random_masks_are_as_large_as_chosen_ones_but_others(sd1: BaseModel) -> None:
    masks = []
    for name in ("cns", "cns-random"):
        learner = METHODS[name].start(sd1, budget(steps=1), METHODS[name].options)
        cast(Learner, learner).learn(LESSONS[0])
        masks.append(learner.deltas[0].positions)  # type: ignore[union-attr]
    chosen, drawn = masks
    assert {layer: len(where) for layer, where in chosen.items()} == {
        layer: len(where) for layer, where in drawn.items()
    }
    assert any(not torch.equal(chosen[layer], drawn[layer].sort().values) for layer in chosen)


def test_options_are_complete_and_their_names_are_checked() -> None:
    for method in METHODS.values():
        assert method.search_space.keys() <= method.options.keys()
    assert METHODS["cns+"].with_options({"drift": 3.0})["drift"] == 3.0
    with pytest.raises(KeyError, match="no option 'dirft'"):
        METHODS["cns+"].with_options({"dirft": 3.0})


def test_methods_are_chosen_by_name() -> None:
    assert [method.name for method in choose(METHODS, "custom, base")] == ["custom", "base"]
    assert choose(METHODS, "all") == list(METHODS.values())
    with pytest.raises(UnknownMethod, match="no method 'custum'"):
        choose(METHODS, "custum")


def test_an_ablation_and_a_bound_are_set_as_what_they_are_held_against() -> None:
    found = {"cns": {"lr_weights": 0.25, "l1": 0.5}, "custom": {"lr_token": 0.125}}
    assert METHODS["cns"].with_tuned(found)["lr_weights"] == 0.25
    without = METHODS["cns-no-reg"].with_tuned(found)  # which has no l1 to be set
    assert without == {**METHODS["cns-no-reg"].options, "lr_weights": 0.25}
    assert METHODS["custom-joint"].with_tuned(found) == METHODS["custom"].with_tuned(found)
    assert METHODS["textual-inversion"].with_tuned(found) == METHODS["textual-inversion"].options
    assert all(one.tuned_as in METHODS for one in METHODS.values() if one.tuned_as is not None)
