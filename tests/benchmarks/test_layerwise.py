"""Layer-wise tokens: each cross-attention layer reads its own vectors, and where there are none, nothing changes."""

import pytest
import torch

from benchmarks.continual.layerwise import ExtendedTokens, LayerwiseBase, layer_token, random_token
from benchmarks.continual.method import plain_version
from cns.base_model import BaseModel
from cns.denoise import GenerationRequest, generate
from cns.errors import UnknownToken
from cns.kv import keys_and_values
from tests.benchmarks.lessons import lesson


@pytest.mark.parametrize("shape", ["sd1", "sdxl"])
def test_a_prompt_without_tokens_paints_as_the_base_does(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    layerwise = LayerwiseBase(base)
    wanted = GenerationRequest("a photo of a dog", steps=2)
    first, second = (generate(one, plain_version(one), [wanted])[0] for one in (base, layerwise))
    assert torch.allclose(first, second, atol=1e-4)


def test_each_layer_reads_the_vectors_of_its_own(sd1: BaseModel) -> None:
    layerwise = LayerwiseBase(sd1)
    generator = torch.Generator().manual_seed(0)
    vectors = [random_token(sd1, generator) for _ in layerwise.layers]
    tokens = {layer_token("<rex>", number): vector for number, vector in enumerate(vectors)}
    kv = keys_and_values(layerwise.kv_weights, layerwise.text_features(["a <rex> dog"], tokens).hidden)
    for vector, layer in zip(vectors, layerwise.layers, strict=True):
        alone = keys_and_values(sd1.kv_weights, sd1.text_features(["a <rex> dog"], {"<rex>": vector}).hidden)
        assert torch.allclose(kv[layer][0], alone[layer][0], atol=1e-5)
        assert torch.allclose(kv[layer][1], alone[layer][1], atol=1e-5)


def test_a_token_without_vectors_is_refused(sd1: BaseModel) -> None:
    with pytest.raises(UnknownToken, match="<rex>"):
        LayerwiseBase(sd1).text_features(["a <rex> dog"], {})


def test_extended_tokens_start_as_random_words_and_as_the_class_noun(sd1: BaseModel) -> None:
    layerwise = LayerwiseBase(sd1)
    words = ExtendedTokens(layerwise, lesson(), torch.Generator().manual_seed(0))
    assert words.written_as == {"<rex> dog": "<rex> <rex--noun>"}
    tokens = words.tokens()
    assert len(tokens) == 2 * len(layerwise.layers)
    [noun] = sd1.token_vectors("dog")
    for number in range(len(layerwise.layers)):
        assert torch.equal(tokens[layer_token("<rex--noun>", number)][0], noun)
    [own] = tokens["<rex--0>"]
    assert torch.cosine_similarity(own, noun, dim=0).abs() < 0.5
    assert own.std().item() == pytest.approx(sd1.text_encoders[0].get_input_embeddings().weight.std().item(), rel=0.5)
