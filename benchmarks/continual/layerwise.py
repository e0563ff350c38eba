"""Tokens with a vector for each cross-attention layer (P+, Voynov et al., arXiv 2303.09522), read by any text encoder.

The encoder reads each prompt once for each layer, with that layer's vectors in the tokens' places, and the features
stand side by side; each layer's key and value weights read their own part of them. So the sampler and the training loop
need to know nothing of it, and the encoder stays as it is.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from benchmarks.continual.method import Lesson
from cns.base_model import BaseModel
from cns.text import TOKEN, TextFeatures, TokenVectors


def layer_token(token: str, layer: int) -> str:
    """The name of a token's vectors for one layer: "<rex>", 3 -> "<rex--3>"."""
    return f"{token[:-1]}--{layer}>"


class LayerwiseBase(BaseModel):
    """A view of a base whose text features are (batch, tokens, layers * in) and whose K/V weights are to match.

    plain: the base it is a view of; everything but the text is shared with it. layers: the cross-attention layers, in
    the order in which their features stand. A base of Stable Diffusion 1.x's size has 1.2 GB of such weights in
    float32, almost all zeros.
    """

    def __init__(self, plain: BaseModel):
        self.__dict__.update(vars(plain))
        self.plain = plain
        self.layers = tuple(dict.fromkeys(name.rpartition(".")[0] for name in plain.kv_weights))
        self.kv_weights = MappingProxyType(self.spread(plain.kv_weights))

    def spread(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """K/V weights (out, in) -> (out, layers * in), zero but for the part that the layer reads; differentiable."""
        made = {}
        for name, weight in weights.items():
            before = self.layers.index(name.rpartition(".")[0])
            after = len(self.layers) - 1 - before
            made[name] = pad(weight, (before * weight.shape[1], after * weight.shape[1]))
        return made

    def check_tokens(self, prompts: Sequence[str], tokens: Mapping[str, TokenVectors]) -> None:
        """As `BaseModel.check_tokens`, of the tokens that each layer reads."""
        self.plain.check_tokens(self._read(prompts, tokens), tokens)

    def text_features(self, prompts: Sequence[str], tokens: Mapping[str, TokenVectors] | None = None) -> TextFeatures:
        """As `BaseModel.text_features`; <rex> is read as <rex--0>, <rex--1> ... where `tokens` has those."""
        known, count = tokens or {}, len(self.layers)
        read = self.plain.text_features(self._read(prompts, known), known)
        hidden = read.hidden.unflatten(0, (count, len(prompts)))  # (layers, batch, tokens, in)
        pooled = read.pooled.unflatten(0, (count, len(prompts))).mean(0) if read.pooled is not None else None
        return TextFeatures(hidden.permute(1, 2, 0, 3).flatten(2), read.own[: len(prompts)], pooled)

    def _read(self, prompts: Sequence[str], known: Mapping[str, TokenVectors]) -> list[str]:
        """All prompts as the first layer reads them, then as the second does, and so on."""

        def for_layer(prompt: str, layer: int) -> str:
            def name(token: str) -> str:
                return layer_token(token, layer) if layer_token(token, layer) in known else token

            return TOKEN.sub(lambda found: name(found.group()), prompt)

        return [for_layer(prompt, layer) for layer in range(len(self.layers)) for prompt in prompts]


class ExtendedTokens:
    """The words of one concept in ED-LoRA (Mix-of-Show, arXiv 2305.18292), to be trained.

    Two tokens, V = V_rand V_class: the concept's own, at random at first, takes what words do not say; the other stands
    where its class noun did and starts as that. Each has one vector (layers, width) for each text encoder.
    written_as: the words of a caption in these tokens.
    """

    def __init__(self, base: LayerwiseBase, lesson: Lesson, generator: torch.Generator):
        noun = f"<{lesson.name}--noun>"
        self.written_as = {f"{lesson.token} {lesson.class_noun}": f"{lesson.token} {noun}"}
        count = len(base.layers)
        starts = {lesson.token: random_token(base, generator), noun: base.token_vectors(lesson.class_noun)}
        self._vectors = {
            name: tuple(nn.Parameter(vector.to(base.device).repeat(count, 1)) for vector in vectors)
            for name, vectors in starts.items()
        }

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [vector for vectors in self._vectors.values() for vector in vectors]

    def tokens(self) -> dict[str, TokenVectors]:
        """ "<rex--0>" -> its vectors, for each token and layer; differentiable."""
        return {
            layer_token(name, layer): tuple(vector[layer] for vector in vectors)
            for name, vectors in self._vectors.items()
            for layer in range(len(vectors[0]))
        }


def random_token(base: BaseModel, generator: torch.Generator) -> TokenVectors:
    """Vectors drawn at random, as far spread as the encoders' own words are: (width,) float32 each."""
    tables = [encoder.get_input_embeddings().weight for encoder in base.text_encoders]
    return tuple(torch.randn(table.shape[1], generator=generator) * table.float().std().cpu() for table in tables)
