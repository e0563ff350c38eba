"""What is encoded in pieces is what is encoded at once."""

import pytest
import torch

from cns.base_model import BaseModel
from cns.pieces import encode_prompts, encode_squares, split_evenly
from cns.selection import SelectionSettings, prompt_masks, top_fraction, weight_scores


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (1, [1]), (7, [7]), (8, [8]), (17, [8, 9]), (24, [8, 8, 8])])
def test_pieces_follow_each_other_and_none_is_too_small(count: int, sizes: list[int]) -> None:
    things = list(range(count))
    pieces = [things[piece] for piece in split_evenly(count, 8)]
    assert [len(piece) for piece in pieces] == sizes
    assert [thing for piece in pieces for thing in piece] == things


@pytest.mark.parametrize("shape", ["sd1", "sdxl"])
def test_prompts_and_pictures_in_pieces_are_the_same_to_the_bit(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    vectors = {"<rex>": base.token_vectors("dog")}
    prompts = [f"a {colour} <rex> {where}" for colour in ("red", "blue", "photo of") for where in "abcdefg"]
    whole, found = base.text_features(prompts, vectors), encode_prompts(base, prompts, vectors)
    assert torch.equal(found.hidden, whole.hidden)
    assert torch.equal(found.own, whole.own)
    assert found.pooled is whole.pooled is None or torch.equal(found.pooled, whole.pooled)
    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(encode_squares(base, pixels), base.encode_images(pixels))


@pytest.mark.parametrize("ranking", ["row", "layer", "global"])
def test_masks_are_those_of_all_scores_at_once(sd1: BaseModel, ranking: str) -> None:
    features = sd1.text_features(["a photo of a dog"])
    [masks] = prompt_masks(sd1.kv_weights, features, SelectionSettings(ranking=ranking))  # type: ignore[arg-type]
    kept = features.hidden[0][features.own[0]]
    scores = {layer: weight_scores(weight, kept) for layer, weight in sd1.kv_weights.items()}
    expected = top_fraction(scores, 0.3, ranking)  # type: ignore[arg-type]
    assert all(torch.equal(masks[layer], mask) for layer, mask in expected.items())
