"""Values that apply at their token alone: other positions, other prompts and other concepts never meet them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version, compose, extend
from cns.delta import Delta
from cns.denoise import GenerationRequest, generate
from cns.errors import LearningRefused
from cns.kv import LayerKV, keys_and_values
from cns.learning import LearningRun
from cns.prompts import encode_prompt
from cns.settings import Reach
from cns.unlearning import Option, forget
from tests.cns.test_compose import make_delta
from tests.cns.test_learning import SETTINGS, concept, learn, run

REX = "a photo of <rex> dog and a red house"
AT = REX.split().index("<rex>") + 1
"""The position of <rex>, after start-of-text: the tests' tokenizer takes a word for a token."""


def _near(base: BaseModel, name: str, seed: int, parent: str | None = None) -> Delta:
    return replace(make_delta(base, name, seed, parent=parent), reach="token")


def _differ(one: LayerKV, other: LayerKV) -> list[Tensor]:
    """Of each layer's K and V: the positions (n,) of the prompt at which they differ."""
    return [(a != b).any(dim=-1)[0].nonzero().flatten() for k in one for a, b in zip(one[k], other[k], strict=True)]


def _only_token(version: Version, base: BaseModel) -> Version:
    """The version without any learned value."""
    return Version(version.deltas, base.kv_weights, version.tokens)


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["sd1", "sdxl"])
def test_only_the_position_of_the_token_meets_its_values(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    version = compose(base, [_near(base, "rex", 1)])
    made, plain = encode_prompt(base, version, REX), encode_prompt(base, _only_token(version, base), REX)
    assert {tuple(where.tolist()) for where in _differ(made.kv, plain.kv)} == {(AT,)}


def test_at_its_token_keys_and_values_are_those_of_the_written_weights(sd1: BaseModel) -> None:
    delta = _near(sd1, "rex", 1)
    made = encode_prompt(sd1, compose(sd1, [delta]), REX).kv
    written = encode_prompt(sd1, compose(sd1, [replace(delta, reach="everywhere")]), REX).kv
    for layer in written:
        for ours, theirs in zip(made[layer], written[layer], strict=True):
            assert torch.allclose(ours[0, AT], theirs[0, AT], rtol=1e-5, atol=1e-6)
            assert not torch.allclose(ours[0, AT + 1], theirs[0, AT + 1], rtol=1e-2)


def test_each_of_two_tokens_meets_its_own_values(sd1: BaseModel) -> None:
    rex, momo = _near(sd1, "rex", 1), _near(sd1, "momo", 2)
    both, prompt = compose(sd1, [rex, momo]), "<rex> dog and <momo> cat"
    made = encode_prompt(sd1, both, prompt).kv
    for delta, at in ((rex, 1), (momo, 4)):
        # The same text features, so the same tokens; the other concept without its values.
        alone = Version((), sd1.kv_weights, both.tokens, {delta.token: both.at_tokens[delta.token]})
        theirs = encode_prompt(sd1, alone, prompt).kv
        assert all(at not in where for where in _differ(made, theirs))
        assert all(5 - at in where for where in _differ(made, theirs))


def test_a_token_that_comes_twice_meets_its_values_twice(sd1: BaseModel) -> None:
    version = compose(sd1, [_near(sd1, "rex", 1)])
    prompt = "<rex> dog and <rex> dog"
    differ = _differ(encode_prompt(sd1, version, prompt).kv, encode_prompt(sd1, _only_token(version, sd1), prompt).kv)
    assert {tuple(where.tolist()) for where in differ} == {(1, 4)}


def test_a_prompt_without_the_token_is_drawn_as_by_the_base_to_the_bit(sd1: BaseModel) -> None:
    version = compose(sd1, [_near(sd1, "rex", 1)])
    asked = [GenerationRequest("a photo of a dog", seed=3, steps=2)]
    assert torch.equal(generate(sd1, version, asked)[0], generate(sd1, compose(sd1), asked)[0])
    assert all(version.weights[layer] is weight for layer, weight in sd1.kv_weights.items())


def test_a_token_stands_on_the_base_whatever_else_has_been_written_into_the_weights(sd1: BaseModel) -> None:
    rex, everywhere = _near(sd1, "rex", 1), make_delta(sd1, "momo", 2)
    before = encode_prompt(sd1, compose(sd1, [rex]), REX).kv
    for line in ([rex, everywhere], [everywhere, rex]):
        after = encode_prompt(sd1, compose(sd1, line), REX).kv
        assert all(AT not in where and len(where) > 0 for where in _differ(before, after))


def test_a_version_is_the_same_however_it_was_put_together(sd1: BaseModel) -> None:
    first, second, third = _near(sd1, "rex", 1), make_delta(sd1, "momo", 2), _near(sd1, "bolt", 3)
    grown = extend(sd1, extend(sd1, compose(sd1, [first]), [second]), [third])
    whole = compose(sd1, [first, second, third])
    assert set(grown.at_tokens) == set(whole.at_tokens) == {"<rex>", "<bolt>"}
    for prompt in (REX, "<bolt> dog and <momo> cat"):
        assert not any(
            len(where) for where in _differ(encode_prompt(sd1, grown, prompt).kv, encode_prompt(sd1, whole, prompt).kv)
        )


# --- learning ---------------------------------------------------------------------------------------------------------


def _learn(base: BaseModel, deltas: Sequence[Delta] = (), name: str = "rex", **changes: object) -> Delta:
    return learn(base, deltas, concept(name), reach="token", **changes)


@pytest.mark.parametrize("shape", ["sd1", "sdxl"])
def test_learning_moves_the_values_and_leaves_the_base_as_it_was(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    checksum = base.checksum()
    delta = _learn(base)
    assert delta.reach == "token"
    assert delta.settings["reach"] == "token"
    for layer, where in delta.positions.items():
        assert (delta.values[layer] != base.kv_weights[layer].flatten()[where].half()).float().mean() > 0.5
    assert base.checksum() == checksum


def test_learning_lowers_the_loss_on_its_pictures(sd1: BaseModel) -> None:
    settings = replace(SETTINGS, reach="token", steps=60, batch=6, lr_weights=3e-2, lr_token=0.0)
    learning = run(sd1, compose(sd1), concept(), settings)
    while not learning.done:
        learning.step()
    assert np.mean(learning.losses[-15:]) < np.mean(learning.losses[:15])


def test_gradients_reach_the_values_by_way_of_the_token_alone(sd1: BaseModel) -> None:
    learning = run(sd1, compose(sd1), concept(), replace(SETTINGS, reach="token"))
    _, asked = learning.ask()
    for key, value in asked.kv.values():
        others = torch.ones(key.shape[1], dtype=torch.bool)
        others[AT] = False
        for made in (key, value):
            [of_values] = torch.autograd.grad(made[:, others].sum(), learning.values, retain_graph=True)
            assert not of_values.any()
    made = torch.cat([pair[0][:, AT].flatten() for pair in asked.kv.values()]).sum()
    assert torch.autograd.grad(made, learning.values)[0].any()


def test_what_is_learned_is_what_is_drawn(sd1: BaseModel) -> None:
    learning = run(sd1, compose(sd1), concept(), replace(SETTINGS, reach="token"))
    while not learning.done:
        learning.step()
    prompt = concept().captions[0]
    on_the_way = encode_prompt(sd1, learning.sample_version(), prompt).kv
    afterwards = encode_prompt(sd1, compose(sd1, [learning.finish()]), prompt).kv
    features = sd1.text_features([prompt], {"<rex>": tuple(vector.detach() for vector in learning.token)})
    plain = keys_and_values(sd1.kv_weights, features.hidden)
    for layer in plain:
        for place in (0, 1):
            shown, kept = on_the_way[layer][place], afterwards[layer][place]
            assert torch.allclose(shown, kept, atol=2e-3)  # a delta has half precision
            assert not torch.allclose(shown[:, AT], plain[layer][place][:, AT], atol=2e-3)


def test_a_concept_is_learned_as_if_it_were_the_first(sd1: BaseModel) -> None:
    first = _learn(sd1)
    alone, after = _learn(sd1, name="momo"), _learn(sd1, [first], name="momo")
    assert after.parent == first.digest
    assert replace(after, parent=None, report=alone.report).digest == alone.digest


def test_an_earlier_concept_is_drawn_to_the_bit_as_before_the_next_was_learned(sd1: BaseModel) -> None:
    first = _learn(sd1)
    asked = [GenerationRequest(REX, seed=3, steps=2)]
    before = generate(sd1, compose(sd1, [first]), asked)[0]
    after = generate(sd1, compose(sd1, [first, _learn(sd1, [first], name="momo")]), asked)[0]
    assert torch.equal(before, after)


def test_neither_guards_nor_the_regulariser_hold_what_disturbs_nobody(sd1: BaseModel) -> None:
    first = _learn(sd1)
    held = {"drift": 50.0, "interference": 50.0, "l1": 50.0, "l2": 50.0}
    free = dict.fromkeys(held, 0.0)
    one, other = (_learn(sd1, [first], name="momo", **firmness) for firmness in (held, free))
    assert all(torch.equal(one.values[layer], other.values[layer]) for layer in one.values)


def test_what_reaches_everywhere_is_not_held_for_concepts_that_stay_at_their_token(sd1: BaseModel) -> None:
    first = _learn(sd1)
    alone, after = (learn(sd1, line, concept("momo"), interference=50.0) for line in ([], [first]))
    assert all(torch.equal(after.values[layer], alone.values[layer]) for layer in alone.values)


@pytest.mark.parametrize("reach", ["everywhere", "token"])
@pytest.mark.parametrize("shape", ["sd1", "sdxl"])
def test_captions_that_name_other_concepts_are_read_as_pictures_read_them(
    shape: str, reach: Reach, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    version = compose(base, [_near(base, "momo", 2), make_delta(base, "bolt", 3)])
    captions = ("a photo of <rex> dog next to <momo> cat", "a <momo> cat and <bolt> cat and <rex> dog", REX)
    learning = run(base, version, replace(concept(), captions=captions), replace(SETTINGS, reach=reach, batch=12))
    learning.step()
    drawn, asked = learning.ask()
    so_far = learning.sample_version()
    for row, which in enumerate(drawn.captions.tolist()):
        for layer, pair in encode_prompt(base, so_far, captions[which]).kv.items():
            for ours, theirs in zip(asked.kv[layer], pair, strict=True):
                assert torch.allclose(ours[row], theirs[0], rtol=1e-4, atol=1e-5)
    assert len(drawn.captions.unique()) == len(captions)


def test_an_interrupted_learning_ends_with_the_same_digest(sd1: BaseModel) -> None:
    settings = replace(SETTINGS, reach="token")
    stopped = run(sd1, compose(sd1), concept(), settings)
    stopped.step()
    resumed = LearningRun(
        sd1, compose(sd1), concept(), settings, calibration=stopped._calibration, resume=stopped.checkpoint()
    )
    while not resumed.done:
        resumed.step()
    assert resumed.finish().digest == _learn(sd1).digest
    with pytest.raises(LearningRefused, match="another learning"):
        LearningRun(
            sd1, compose(sd1), concept(), SETTINGS, calibration=stopped._calibration, resume=stopped.checkpoint()
        )


# --- forgetting -------------------------------------------------------------------------------------------------------


def test_forgetting_one_leaves_nothing_of_it_and_touches_no_other(sd1: BaseModel) -> None:
    rex = _near(sd1, "rex", 1)
    momo = _near(sd1, "momo", 2, parent=rex.digest)
    everywhere = make_delta(sd1, "bolt", 3, parent=momo.digest)
    done = forget(sd1, [rex, momo, everywhere], "rex")
    assert (done.returned, done.shared) == (rex.size, 0)
    assert [delta.concept for delta in done.deltas] == ["momo", "bolt"]
    for old, new in zip((momo, everywhere), done.deltas, strict=True):
        assert new.reach == old.reach
        assert all(torch.equal(new.values[layer], old.values[layer]) for layer in old.values)


@pytest.mark.parametrize("option", [*Option])
def test_forgetting_what_reaches_everywhere_leaves_what_stands_at_a_token(sd1: BaseModel, option: Option) -> None:
    first = make_delta(sd1, "bolt", 3)
    rex = _near(sd1, "rex", 1, parent=first.digest)
    done = forget(sd1, [first, rex], "bolt", option)
    assert (done.returned, done.shared) == (first.size, 0)
    assert all(torch.equal(done.after[0].values[layer], rex.values[layer]) for layer in rex.values)
