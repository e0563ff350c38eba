"""In a picture of several concepts, each place reads the token of one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.binding import Binding, BoundRows, find_binding, join_bindings, seen_tokens
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, generate
from cns.kv import LayerKV, handed_attention, predict
from cns.prompts import EncodedPrompt, encode_prompt
from cns.recipe import recipe_of
from cns.regions import Region
from tests.cns.test_compose import make_delta
from tests.cns.test_regions import assert_together_as_alone

BOTH = "a photo of <rex> dog and <momo> cat"
REX, MOMO = 4, 7
"""Positions of the tokens in it, after start-of-text: the tests' tokenizer takes a word for a token."""
ASKED = GenerationRequest(BOTH, seed=3, steps=3, guidance=4.0)
SHAPES = pytest.mark.parametrize("shape", ["sd1", "sd2", "sdxl"])


def _near(base: BaseModel, name: str, seed: int, noun: str = "dog") -> Delta:
    return replace(make_delta(base, name, seed), reach="token", class_noun=noun)


def _version(base: BaseModel) -> Version:
    return compose(base, [_near(base, "rex", 1), _near(base, "momo", 2, "cat")])


def _bind(base: BaseModel, prompt: str, nouns: Mapping[str, str]) -> Binding | None:
    features = base.text_features([prompt], {token: base.token_vectors("dog") for token in nouns})
    return find_binding(base.tokenizers[0], prompt, features.placed, nouns, features.hidden.shape[1])


def _where(rows: Tensor) -> list[list[int]]:
    return [row.nonzero().flatten().tolist() for row in rows]


# --- what a prompt binds ----------------------------------------------------------------------------------------------

NOUNS = {"<rex>": "dog", "<momo>": "cat", "<blue>": "drawing", "<tub>": "red mug"}


def test_each_concept_belongs_where_its_noun_says_and_hides_the_tokens_of_the_others(sd1: BaseModel) -> None:
    found = _bind(sd1, BOTH, NOUNS)
    assert found is not None
    assert _where(found.words) == [[REX + 1], [MOMO + 1]]
    assert _where(found.hidden) == [[MOMO], [REX]]


def test_words_may_stand_between_a_token_and_its_noun_and_a_noun_may_be_two_words(sd1: BaseModel) -> None:
    found = _bind(sd1, "<rex> red blue dog next to a <tub> Red Mug on the grass", NOUNS)
    assert found is not None
    assert _where(found.words) == [[4], [10]]
    assert _where(found.hidden) == [[8], [1]]


def test_a_concept_that_is_named_twice_is_one_and_three_hide_from_each_other(sd1: BaseModel) -> None:
    found = _bind(sd1, "<rex> dog and <momo> cat and <rex> dog and a <tub> red mug", NOUNS)
    assert found is not None
    assert _where(found.words) == [[2, 8], [5], [13]]
    assert _where(found.hidden) == [[4, 11], [1, 7, 11], [1, 4, 7]]
    torch.testing.assert_close(found.words.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    "prompt",
    [
        "a photo of a dog and a cat",
        "a photo of <rex> dog and a cat",
        "<rex> dog and <rex> dog",
        "a <blue> drawing of <rex> dog",  # a manner of the whole picture
        "<rex> dog and <momo> on the grass",  # nothing says where <momo> is
        "<rex> and <momo> dog",  # the noun of the next one is not its own
        "<rex> dog and <momo> category",
        "<rex> on the red grass near a dog and <momo> cat",  # which is another dog
        "<rex>, a dog, and <momo> cat",
        "<rex> dog" + " and a red house" * 40 + " and <momo> cat",  # cut before <momo>
    ],
)
def test_a_prompt_without_two_concepts_that_stand_somewhere_binds_nothing(sd1: BaseModel, prompt: str) -> None:
    assert _bind(sd1, prompt, NOUNS) is None


def test_a_noun_that_was_cut_away_says_nothing(sd1: BaseModel) -> None:
    length = sd1.text_features(["a"]).hidden.shape[1]
    for fillers, bound in ((length - 6, True), (length - 5, False)):  # the last position is end-of-text
        prompt = "<rex> dog" + " red" * fillers + " <momo> cat and a house"
        found = _bind(sd1, prompt, NOUNS)
        assert (found is not None) == bound


def test_concepts_whose_values_reach_everywhere_are_not_bound(sd1: BaseModel) -> None:
    rex, momo = _near(sd1, "rex", 1), _near(sd1, "momo", 2, "cat")
    assert encode_prompt(sd1, compose(sd1, [rex, momo]), BOTH).binding is not None
    assert encode_prompt(sd1, compose(sd1, [rex, replace(momo, reach="everywhere")]), BOTH).binding is None


# --- attention --------------------------------------------------------------------------------------------------------


def _one_hot(places: Sequence[int], length: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(places), length).float()


def test_a_place_sees_the_token_of_the_concept_whose_noun_it_meets_best() -> None:
    """Four tokens, <a> a <b> b; keys and queries of four places so that the first two lie with a, the others with b."""
    binding = Binding(_one_hot([1, 3], 4), torch.tensor([[False, False, True, False], [True, False, False, False]]))
    bound = join_bindings({1: binding}, torch.empty(0))
    assert bound is not None
    key = torch.eye(4)[None]
    query = torch.tensor([[[0.0, 1, 0, 0], [9, 0.2, 9, 0.1], [0, 0.1, 0, 0.2], [0, -2, 0, -1]]])
    seen = seen_tokens(query, key, bound)
    assert seen.tolist() == [[[True, True, False, True]] * 2 + [[False, True, True, True]] * 2]


def test_rows_that_bind_two_and_three_concepts_are_answered_together_as_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    hides = torch.tensor([[0, 0, 0, 1, 0, 1], [0, 1, 0, 0, 0, 1], [0, 1, 0, 1, 0, 0]]).bool()
    two, three = Binding(_one_hot([2, 4], 6), hides[:2]), Binding(_one_hot([2, 4, 0], 6), hides)
    query, key = torch.randn(2, 50, 8, generator=generator), torch.randn(2, 6, 8, generator=generator)
    query[0] = -query[0].abs()  # so that a concept that a row does not have would win with a score of nothing
    key[0] = torch.eye(6, 8)
    both = join_bindings({0: two, 1: three}, query)
    assert both is not None
    together = seen_tokens(query, key, both)
    for row, binding in enumerate((two, three)):
        alone = join_bindings({0: binding}, query)
        assert alone is not None
        assert torch.equal(together[row], seen_tokens(query[row : row + 1], key[row : row + 1], alone)[0])
        assert len(together[row].unique(dim=0)) == len(binding.words)


def _answers(base: BaseModel, prompt: EncodedPrompt, bound: BoundRows | None, kv: LayerKV | None = None) -> Tensor:
    """What the first cross-attention layer answers in a UNet call of two rows of the prompt: (rows, places, width)."""
    layer = next(module for name, module in base.unet.named_modules() if name.endswith("attn2"))
    answers: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: answers.append(output))
    pairs = {name: (k.expand(2, -1, -1), v.expand(2, -1, -1)) for name, (k, v) in (kv or prompt.kv).items()}
    added = None
    if prompt.pooled is not None:
        added = base.added_conditions(prompt.pooled.expand(2, -1), base.native_px, base.native_px)
    try:
        with handed_attention(base.unet):
            side = base.native_px // base.vae_scale
            latents = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(1))
            predict(
                base, latents.to(base.device), torch.tensor([500, 400], device=base.device), pairs, added, bound=bound
            )
    finally:
        handle.remove()
    return answers[0].detach()


def test_attention_that_is_written_out_for_gradients_keeps_concepts_apart_too(sd1: BaseModel) -> None:
    prompt = encode_prompt(sd1, _version(sd1), BOTH)
    assert prompt.binding is not None
    bound = join_bindings({1: prompt.binding}, prompt.kv[next(iter(prompt.kv))][0])
    with torch.enable_grad():
        written = _answers(sd1, prompt, bound)
    with torch.no_grad():
        fused, mixed = _answers(sd1, prompt, bound), _answers(sd1, prompt, None)
    torch.testing.assert_close(written, fused, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(written, mixed, atol=1e-4)


@SHAPES
def test_a_place_of_one_concept_does_not_meet_the_other_and_other_rows_are_as_they_were(
    shape: str, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    prompt = encode_prompt(base, _version(base), BOTH)
    assert prompt.binding is not None
    bound = join_bindings({1: prompt.binding}, prompt.kv[next(iter(prompt.kv))][0])
    plain, apart = _answers(base, prompt, None), _answers(base, prompt, bound)
    assert torch.equal(apart[0], plain[0])
    assert not torch.isclose(apart[1], plain[1]).all(dim=-1).any()
    without: dict[int, Tensor] = {}
    for token in (REX, MOMO):
        changed = {name: (k.clone(), v.clone()) for name, (k, v) in prompt.kv.items()}
        for _, value in changed.values():
            value[0, token] += 1
        without[token] = torch.isclose(_answers(base, prompt, bound, changed)[1], apart[1]).all(dim=-1)
    assert torch.equal(without[REX], ~without[MOMO])


# --- pictures ---------------------------------------------------------------------------------------------------------


@SHAPES
def test_two_concepts_of_a_picture_keep_apart_unless_they_may_mix(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    apart, mixed = generate(base, _version(base), [ASKED, replace(ASKED, apart=False)])
    assert (apart - mixed).abs().max() > 1e-3


@pytest.mark.parametrize("prompt", ["a photo of <rex> dog and a cat", "a photo of a dog and a cat"])
def test_a_picture_of_one_concept_or_none_is_the_same_either_way_to_the_bit(sd1: BaseModel, prompt: str) -> None:
    asked = replace(ASKED, prompt=prompt)
    [apart], [mixed] = (generate(sd1, _version(sd1), [replace(asked, apart=choice)]) for choice in (True, False))
    assert torch.equal(apart, mixed)


@SHAPES
def test_pictures_that_keep_concepts_apart_share_steps_and_are_as_made_alone(
    shape: str, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    version = compose(base, [_near(base, "rex", 1), _near(base, "momo", 2, "cat"), _near(base, "tub", 3, "mug")])
    asked = [
        ASKED,
        replace(ASKED, apart=False),
        replace(ASKED, prompt=f"{BOTH} and <tub> mug", sampler="euler", guidance=1.0),
        replace(ASKED, prompt="a red house", seed=5),
        replace(ASKED, regions=(Region("<tub> mug", 0, 0, 0.5, 1),), steps=2),
    ]
    assert_together_as_alone(base, version, asked)


def test_what_shall_not_be_in_the_picture_is_read_whole(sd1: BaseModel) -> None:
    """Only the row of the prompt is bound, so nothing that both concepts are kept from comes nearer."""
    asked = replace(ASKED, prompt="a red house", negative_prompt=BOTH)
    [apart], [mixed] = (generate(sd1, _version(sd1), [replace(asked, apart=choice)]) for choice in (True, False))
    assert torch.equal(apart, mixed)


def test_the_recipe_says_whether_concepts_keep_apart(sd1: BaseModel) -> None:
    version = _version(sd1)
    for choice in (True, False):
        assert recipe_of(sd1, version.deltas, replace(ASKED, apart=choice))["apart"] is choice
