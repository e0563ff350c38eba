"""Values that apply where their concept's own token stands, and nowhere else (docs/decisions/0023).

K and V are made position by position of a prompt, and are handed in to the UNet, which is never written. So a concept's
values need not be part of the weights: at its token K = W' c, with its values written over the base's own W; at every
other position it is as if the concept had never been learned.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from cns.delta import Delta
from cns.entries import write_over
from cns.kv import KEY, VALUE, LayerKV, keys_and_values
from cns.text import TextFeatures

LayerValues = Mapping[str, tuple[Tensor, Tensor]]
"""Layer -> positions (n,) int64, flat and ascending, and the values (n,) that stand there; other layers absent."""

Places = tuple[Tensor, Tensor]
"""Prompts (n,) and positions (n,) of a batch, int64: where a token stands."""


def layer_values(delta: Delta) -> LayerValues:
    """The delta's own tensors, shared."""
    return {layer: (where, delta.values[layer]) for layer, where in delta.positions.items()}


def find_places(features: TextFeatures, token: str) -> Places:
    """Where `token` stands in the prompts of `features`; of a prompt that was cut before it, nowhere."""
    found = [(prompt, position) for prompt, position, name in features.placed if name == token]
    prompts, positions = torch.tensor(found, dtype=torch.long, device=features.hidden.device).view(-1, 2).T
    return prompts, positions


def put_in_places(kv: LayerKV, own: LayerKV, places: Places) -> LayerKV:
    """`kv` (batch, tokens, out) with the rows of `own` (1, n, out) in its n `places`; differentiable in both."""
    return {
        layer: (key.index_put(places, own[layer][0][0]), value.index_put(places, own[layer][1][0]))
        for layer, (key, value) in kv.items()
    }


def keys_and_values_with(
    weights: Mapping[str, Tensor],
    at_tokens: Mapping[str, LayerValues],
    own_weights: Mapping[str, Tensor],
    features: TextFeatures,
) -> LayerKV:
    """K and V of every cross-attention layer, where some tokens bring values of their own.

    weights: layer -> (out, in), for all positions but theirs. at_tokens: "<rex>" -> its values. own_weights: layer ->
    (out, in), what these are written over.
    """
    return with_own_values(keys_and_values(weights, features.hidden), at_tokens, own_weights, features)


def with_own_values(
    kv: LayerKV, at_tokens: Mapping[str, LayerValues], own_weights: Mapping[str, Tensor], features: TextFeatures
) -> LayerKV:
    """`kv` of the prompts of `features`, with those that `at_tokens` give where they stand; differentiable in both.

    Where none of them stands, `kv` itself.
    """
    for token in dict.fromkeys(name for _, _, name in features.placed if name in at_tokens):
        places, values = find_places(features, token), at_tokens[token]
        rows = features.hidden[places][None]
        own = {
            layer: (
                rows @ weight_at(own_weights, values, layer + KEY).T.to(rows),
                rows @ weight_at(own_weights, values, layer + VALUE).T.to(rows),
            )
            for layer in kv
        }
        kv = put_in_places(kv, own, places)
    return kv


def weight_at(weights: Mapping[str, Tensor], values: LayerValues, layer: str) -> Tensor:
    """(out, in): the weight of `layer` with the values for it, a copy; where there are none, the weight itself.

    One layer at a time: all of a large base's would be as much memory as its key and value projections.
    """
    weight = weights[layer].detach()
    if layer not in values:
        return weight
    where, part = values[layer]
    return write_over(weight, where.to(weight.device), part.to(weight.device))
