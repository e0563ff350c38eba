"""What must go on meaning the same while a concept is learned, and what its moving costs (docs/decisions/0010)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version
from cns.concept import Concept
from cns.entries import Entries
from cns.losses import energy, feature_moment
from cns.pieces import encode_prompts
from cns.settings import LearningSettings
from cns.text import as_any

SMALLEST_SHARE = 1e-4
"""Of a layer's energy: what earlier concepts are taken to have changed there at least, where they changed nothing."""


@dataclass(frozen=True)
class Guard:
    """Prompts that are guarded, by their text features c.

    firmness: weight of the term. moment: (in, in) float32, second moment of c. against: layer -> the energy, scalar,
    that a change is measured against.
    """

    firmness: float
    moment: Tensor
    against: Mapping[str, Tensor]


@torch.no_grad()
def weigh_guards(
    base: BaseModel,
    version: Version,
    concept: Concept,
    settings: LearningSettings,
    calibration: Sequence[str],
    layers: Sequence[str],
) -> list[Guard]:
    """Guards of general prompts and of the captions without the token, and of every earlier concept.

    A change is measured against the whole of keys and values for general prompts, but for earlier concepts only
    against what learning them has changed: a change that nobody would see in a general prompt can be all that tells a
    concept from its class. Values that reach no further than the concept's token move nobody else's prompts: then there
    is nothing to guard.
    """
    if settings.reach == "token":
        return []

    def moment_of(prompts: Sequence[str]) -> Tensor:
        return feature_moment(encode_prompts(base, prompts, version.tokens).hidden)

    guards: list[Guard] = []
    if settings.drift:
        bare = [as_any(caption, concept.token, concept.class_noun) for caption in concept.captions]
        moment = moment_of([*calibration, ""]) + moment_of(bare)
        whole = {layer: energy(version.weights[layer].float(), moment) for layer in layers}
        guards.append(Guard(settings.drift, moment, whole))
    if settings.interference and version.reaching:
        moment = version.taught.grow(base, version.deltas, version.tokens)
        taught = {}
        for layer in layers:
            weight = version.weights[layer].float()
            least = SMALLEST_SHARE * energy(weight, moment)
            taught[layer] = energy(weight - base.kv_weights[layer].float(), moment).maximum(least)
        # The moment is a mean over all their prompts: times their number, each is kept as firmly as one alone.
        guards.append(Guard(settings.interference * len(version.reaching), moment, taught))
    return guards


@torch.no_grad()
def guarding_gradient(
    guards: Sequence[Guard], entries: Entries, change: Tensor, weights: Mapping[str, Tensor], scale: float = 1.0
) -> Tensor:
    """Gradient, (n,) float32, of drift and interference in `change`, times `scale`: layer by layer, none held longer.

    The loss is meant over the layers. In each, drift is ||dW c||^2 / ||W c||^2 over features c of general prompts, and
    interference ||dW c||^2 / ||D c||^2 over those of earlier concepts' prompts, with D what learning them has changed.
    Of tr(dW G dW^T) the gradient is dW G + dW G^T (`cns.losses.energy`).
    change: (n,) float32, what the entries have moved by. weights: layer -> (out, in), for their shapes.
    """
    share = torch.tensor(scale, device=change.device) / len(entries.where)
    gradients: list[Tensor] = []
    for layer, where, part in entries.split(change):
        weight = weights[layer]
        moved = torch.zeros(weight.numel(), device=where.device).scatter(0, where, part).view(weight.shape)
        pull = torch.zeros_like(part)
        for guard in reversed(guards):  # the order in which automatic differentiation would add them up
            firmness = share / guard.against[layer] * guard.firmness
            pull = pull + (firmness * (moved @ guard.moment)).flatten()[where]
            pull = pull + ((firmness * moved) @ guard.moment.T).flatten()[where]
        gradients.append(pull)
    return torch.cat(gradients)
