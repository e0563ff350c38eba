"""What one prompt brings to the UNet under one version: all that its rows of a batch need of the text."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cns.at_tokens import keys_and_values_with
from cns.base_model import BaseModel
from cns.binding import Binding, find_binding
from cns.compose import Version
from cns.kv import LayerKV


@dataclass(frozen=True)
class EncodedPrompt:
    """Constant over all steps and pictures of a prompt under a version, so it may be kept and shared; never written.

    kv: K and V of every cross-attention layer, (1, tokens, out) each, in the base's dtype and on its device.
    pooled: (1, width), SDXL's pooled text; None for the others. binding: which of its concepts keep out of each other's
    places, None where there are not two. guided: share of the noise levels, from the noisiest on, in which a picture of
    it is guided (`Delta.guided`): the least of its concepts'.
    """

    kv: LayerKV
    pooled: Tensor | None
    binding: Binding | None = None
    guided: float = 1.0

    @property
    def nbytes(self) -> int:
        tensors = [tensor for pair in self.kv.values() for tensor in pair]
        return sum(tensor.nbytes for tensor in tensors) + (self.pooled.nbytes if self.pooled is not None else 0)


Encode = Callable[[Version, str], EncodedPrompt]
"""How a run comes by the features of its prompts: computed, or taken from whatever the caller keeps."""


@torch.no_grad()
def encode_prompt(base: BaseModel, version: Version, prompt: str) -> EncodedPrompt:
    """K and V, and pooled text, of `prompt` under `version`. Raises UnknownToken.

    Each prompt goes through the encoder by itself: in a batch its last bits would depend on whoever shares it, and a
    prompt that is kept would not be to the bit the one that is computed anew.
    """
    features = base.text_features([prompt], version.tokens)
    kv = keys_and_values_with(version.weights, version.at_tokens, base.kv_weights, features)
    nouns = {delta.token: delta.class_noun for delta in version.deltas if delta.token in version.at_tokens}
    length = features.hidden.shape[1]
    binding = find_binding(base.tokenizers[0], prompt, features.placed, nouns, length)
    guided = min([1.0, *(version.guided.get(token, 1.0) for _, _, token in features.placed)])
    return EncodedPrompt(kv, features.pooled, binding, guided)


def encode_unwanted(base: BaseModel, version: Version, prompt: str, encode: Encode) -> EncodedPrompt:
    """What guidance leads away from: `prompt`, or where it has no words what `base` takes for none.

    K and V of text features that are zero are zero. The empty prompt is encoded for their shapes alone, and they take
    no memory of their own.
    """
    encoded = encode(version, prompt)
    if prompt.strip() or not base.zeros_for_no_words:
        return encoded
    pooled = None if encoded.pooled is None else _zeros_like(encoded.pooled)
    return EncodedPrompt({layer: (_zeros_like(k), _zeros_like(v)) for layer, (k, v) in encoded.kv.items()}, pooled)


def _zeros_like(tensor: Tensor) -> Tensor:
    """One zero that is seen in every place."""
    return tensor.new_zeros(()).expand_as(tensor)
