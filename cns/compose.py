"""Base and ordered deltas -> the K/V weights of a version. Pure: the base is read, never written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

from cns.at_tokens import LayerValues, layer_values
from cns.base_model import BaseModel
from cns.delta import Delta
from cns.errors import DeltaError, WrongBase
from cns.taught import TaughtMoment
from cns.text import TokenVectors


@dataclass(frozen=True)
class Version:
    """One state of a history: what the base becomes after its deltas.

    deltas: in the order they were learned. Where two of them own the same entry, the later one's value stands.
    weights: every key and value projection -> (out, in) in the base's dtype, with the values that reach everywhere.
    Never written: untouched ones are the base's own tensors, and versions made of one another share what they have in
    common.
    tokens: "<rex>" -> the concept's vectors, for every concept of the version.
    at_tokens: "<rex>" -> the values that apply where this token stands (`cns.at_tokens`); a concept whose values reach
    everywhere is not among them.
    guided: "<noir>" -> `Delta.guided`; who is not among them is guided all the way.
    taught: what a learning on this version, or on one that it was made of, has found about the deltas' prompts; empty
    at first, and no part of what the version is.
    """

    deltas: tuple[Delta, ...]
    weights: Mapping[str, Tensor]
    tokens: Mapping[str, TokenVectors]
    at_tokens: Mapping[str, LayerValues] = field(default_factory=dict)
    guided: Mapping[str, float] = field(default_factory=dict)
    taught: TaughtMoment = field(default_factory=TaughtMoment, compare=False, repr=False)

    @property
    def digest(self) -> str | None:
        """Digest of the last delta, None for the bare base."""
        return self.deltas[-1].digest if self.deltas else None

    @cached_property
    def owned(self) -> Mapping[str, Tensor]:
        """Layer -> (out, in) bool, True where any concept of this version owns the entry; layers without are absent."""
        return owned_positions(self.deltas)

    @cached_property
    def reaching(self) -> tuple[Delta, ...]:
        """The deltas whose values reach everywhere, which are those that have changed `weights`."""
        return tuple(delta for delta in self.deltas if delta.reach == "everywhere")


def compose(base: BaseModel, deltas: Sequence[Delta] = ()) -> Version:
    """Write the values of `deltas`, in order, over copies of the base's K/V weights; those for a token stay apart.

    Exact and repeatable to the bit; rolling back is composing with fewer deltas. Raises WrongBase for a delta of
    another base and DeltaError for a concept that comes twice.
    """
    return extend(base, Version((), base.kv_weights, MappingProxyType({})), deltas)


def extend(base: BaseModel, version: Version, deltas: Sequence[Delta]) -> Version:
    """The version that `deltas` make on top of `version`, which is one of `base` and stays as it is.

    To the bit what `compose` makes of all the deltas, at the cost of the new ones alone: a delta holds the values
    themselves, so what it writes does not depend on what stood there. Layers that no new delta touches are the tensors
    of `version`, shared. Raises as `compose` does.
    """
    tokens, at_tokens = dict(version.tokens), dict(version.at_tokens)
    for delta in deltas:
        if delta.base_id != base.id:
            raise WrongBase(f"The delta of {delta.concept!r} was learned on another base model than this one.")
        if delta.token in tokens:
            raise DeltaError(f"The concept {delta.concept!r} is in this version twice.")
        tokens[delta.token] = tuple(vector.to(base.device) for vector in delta.token_vectors)
        _check_shapes(base, delta)
        if delta.reach == "token":
            at_tokens[delta.token] = layer_values(delta)
    written = [delta for delta in deltas if delta.reach == "everywhere"]
    weights = dict(version.weights)
    for layer in {layer for delta in written for layer in delta.positions}:
        flat = weights[layer].detach().flatten().clone()  # a copy, as others compute with the tensor that is there
        for delta in written:
            if layer in delta.positions:
                where = delta.positions[layer].to(flat.device)
                flat.index_copy_(0, where, delta.values[layer].to(flat))
        weights[layer] = flat.view(base.kv_weights[layer].shape)
    return Version(
        (*version.deltas, *deltas),
        MappingProxyType(weights),
        MappingProxyType(tokens),
        MappingProxyType(at_tokens),
        MappingProxyType({**version.guided, **{delta.token: delta.guided for delta in deltas if delta.guided < 1}}),
        replace(version.taught),
    )


def _check_shapes(base: BaseModel, delta: Delta) -> None:
    for layer, shape in delta.shapes.items():
        weight = base.kv_weights.get(layer)
        if weight is None or weight.shape != shape:
            raise WrongBase(f"The delta of {delta.concept!r} changes {layer}, which this base model does not have so.")


def owned_positions(deltas: Sequence[Delta]) -> Mapping[str, Tensor]:
    """Union of the masks of `deltas`: layer -> (out, in) bool; layers that no concept touches are absent."""
    owned: dict[str, Tensor] = {}
    for delta in deltas:
        for layer, where in delta.positions.items():
            mask = owned.setdefault(layer, torch.zeros(delta.shapes[layer], dtype=torch.bool))
            mask.view(-1)[where.cpu()] = True
    return MappingProxyType(owned)
