"""Every method trains as `cns.learning.LearningRun` does, whatever it trains."""

import pytest
import torch
from torch import nn

from benchmarks.continual.method import Budget, altered_base, plain_version
from benchmarks.continual.training import Beside, Trainable, prepare_examples, token_parameters, train
from cns.base_model import BaseModel
from cns.compose import compose
from cns.denoise import GenerationRequest, generate
from cns.learning import Concept, LearningRun
from cns.settings import LearningSettings, SelectionSettings
from tests.benchmarks.lessons import budget, lesson


def all_keys_and_values(base: BaseModel, noun: str) -> tuple[Trainable, dict[str, nn.Parameter]]:
    weights = {layer: nn.Parameter(weight.clone()) for layer, weight in base.kv_weights.items()}
    token = token_parameters(base, noun)
    groups = [(list(weights.values()), 1e-3), (token, 1e-2)]
    return Trainable(groups, lambda: {"<rex>": token}, lambda: weights), weights


def test_the_loop_does_what_a_learning_does(sd1: BaseModel) -> None:
    """With every entry selected and nothing added to the loss, a learning trains all keys and values and the token."""
    settings = LearningSettings(
        steps=4,
        batch=4,
        lr_weights=1e-3,
        lr_token=1e-2,
        l1=0,
        l2=0,
        drift=0,
        interference=0,
        mixed_precision=False,
        selection=SelectionSettings(fraction=1.0, general_prompts=0),
    )
    taught = lesson()
    run = LearningRun(sd1, compose(sd1), Concept("rex", "dog", taught.pictures, taught.captions), settings)
    while not run.done:
        run.step()
    trainable, _ = all_keys_and_values(sd1, "dog")
    losses = train(sd1, prepare_examples(sd1, [taught], Budget.of(settings)), Budget.of(settings), trainable)
    assert losses == pytest.approx(run.losses, rel=1e-5)


def test_training_leaves_the_shared_base_as_it_was(sd1: BaseModel) -> None:
    before = sd1.checksum()
    parameters = {name: nn.Parameter(value.clone()) for name, value in sd1.unet.named_parameters()}
    token = token_parameters(sd1, "dog")
    trainable = Trainable(
        [(list(parameters.values()), 1e-3), (token, 1e-2)],
        lambda: {"<rex>": token},
        lambda: {layer: parameters[f"{layer}.weight"] for layer in sd1.kv_weights},
        unet=lambda: parameters,
    )
    train(sd1, prepare_examples(sd1, [lesson()], budget()), budget(), trainable)
    assert sd1.checksum() == before
    moved = [name for name, value in sd1.unet.named_parameters() if not torch.equal(value, parameters[name])]
    assert len(moved) > 0.9 * len(parameters)


def test_the_same_inputs_train_the_same_parameters(sd1: BaseModel) -> None:
    found = []
    for _ in range(2):
        trainable, weights = all_keys_and_values(sd1, "dog")
        train(sd1, prepare_examples(sd1, [lesson()], budget()), budget(), trainable)
        found.append(weights)
    assert all(torch.equal(found[0][layer], found[1][layer]) for layer in found[0])


def test_a_penalty_and_examples_beside_change_what_is_learned_but_not_the_reported_loss(sd1: BaseModel) -> None:
    taught, prior = lesson(), lesson("cat", "cat", seed=5)
    examples = prepare_examples(sd1, [taught], budget(steps=1))
    plain, weights = all_keys_and_values(sd1, "dog")
    alone = train(sd1, examples, budget(steps=1), plain)
    extended, other = all_keys_and_values(sd1, "dog")
    firm = Trainable(
        extended.groups,
        lambda: {**extended.tokens(), "<cat>": sd1.token_vectors("cat")},
        extended.weights,
        penalty=lambda: sum((w - 1).square().sum() for w in other.values()),  # type: ignore[arg-type, return-value]
    )
    along = Beside(prepare_examples(sd1, [prior], budget()), weight=1.0)
    both = train(sd1, examples, budget(steps=1), firm, beside=along)
    assert both == pytest.approx(alone, rel=1e-5)
    assert any(not torch.equal(weights[layer], other[layer]) for layer in weights)


def test_a_joint_training_takes_a_budget_for_each_of_its_concepts(sd1: BaseModel) -> None:
    trainable, _ = all_keys_and_values(sd1, "dog")
    seen: list[tuple[int, int]] = []
    examples = prepare_examples(sd1, [lesson()], budget())
    train(sd1, examples, budget(steps=2), trainable, concepts=2, on_step=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_altered_base_paints_differently_and_shares_all_but_the_unet(sd1: BaseModel) -> None:
    name = "conv_in.weight"
    altered = altered_base(sd1, {name: dict(sd1.unet.named_parameters())[name] + 0.1})
    assert altered.id != sd1.id
    assert altered.vae is sd1.vae
    request = GenerationRequest("a photo of a dog", steps=2)
    first, second = (generate(base, plain_version(base), [request])[0] for base in (sd1, altered))
    assert not torch.equal(first, second)
    assert torch.equal(first, generate(sd1, compose(sd1), [request])[0])


def test_keys_and_values_of_an_altered_base_are_used(sd1: BaseModel) -> None:
    layer = next(iter(sd1.kv_weights))
    altered = altered_base(sd1, {f"{layer}.weight": sd1.kv_weights[layer] * 2})
    assert torch.equal(plain_version(altered).weights[layer], sd1.kv_weights[layer] * 2)
    assert not torch.equal(plain_version(sd1).weights[layer], sd1.kv_weights[layer] * 2)
