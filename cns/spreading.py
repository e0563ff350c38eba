"""Values of single tokens, spread into weights that everything meets: as near as other programs' files can come.

A file of another program holds weights, and weights apply to every position of every prompt. So the values at a token
(`cns.at_tokens`) become the change of the weights that does most nearly the same there and least elsewhere, by ridge
regression. The closed form is known from editing what models say (Meng et al., arXiv 2210.07229; Gandikota et al.,
arXiv 2308.14761).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from cns.at_tokens import find_places, weight_at
from cns.base_model import BaseModel
from cns.compose import Version
from cns.losses import energy, feature_moment
from cns.pieces import encode_prompts
from cns.taught import prompts_of

FIRMNESS = 1.0
"""How much general prompts count beside a token: where `python -m benchmarks.spreading` still finds pictures as near as
with the token's own values."""
RIDGE = 1e-6
"""Share of the mean second moment on the diagonal, so that directions which no prompt has do not move."""


@dataclass(frozen=True)
class Spread:
    """version: the weights with the change, and no values at tokens. missed: "<rex>" -> share of what its values do at
    its token that the weights do not do, 0 for exact. moved: share by which K and V of general prompts have moved.
    Both are root mean squares over layers and positions, relative to the size of what they are shares of.
    """

    version: Version
    missed: Mapping[str, float]
    moved: float


@torch.no_grad()
def spread_into_weights(
    base: BaseModel, version: Version, general: Sequence[str], firmness: float = FIRMNESS
) -> Spread:
    """The version with the values of all its tokens as part of its weights.

    general: prompts that shall stay as they are; firmness: how much they count. For each layer the change U (out, in)
    has the least sum of ||U h - D h||^2, meant over the features h of each token in what it was taught with, and
    `firmness` times ||U c||^2 over the features c of `general`; D is what the token's values change.
    """
    met = {delta.token: prompts for delta, prompts in prompts_of(version.deltas) if delta.token in version.at_tokens}
    if not met:
        return Spread(version, {}, 0.0)
    moments = {token: _moment_at(base, version, token, prompts) for token, prompts in met.items()}
    kept = feature_moment(encode_prompts(base, general, version.tokens).hidden).double()
    held = torch.stack([*moments.values(), firmness * kept]).sum(dim=0)
    held += RIDGE * kept.diagonal().mean() * torch.eye(len(kept), device=kept.device, dtype=kept.dtype)
    weights: dict[str, Tensor] = {}
    left, whole = ({token: torch.zeros((), dtype=torch.double) for token in met} for _ in range(2))
    moved = []
    for layer, weight in version.weights.items():
        own = {token: weight_at(base.kv_weights, version.at_tokens[token], layer) for token in met}
        wanted = {token: (own[token] - weight).double() for token in met}
        pull = torch.stack([wanted[token] @ moment for token, moment in moments.items()]).sum(dim=0)
        change = torch.linalg.solve(held, pull, left=False)
        weights[layer] = (weight + change).to(weight.dtype)
        moved.append(energy(change, kept) / energy(weight.double(), kept))
        for token, moment in moments.items():
            left[token] += energy(change - wanted[token], moment).cpu()
            whole[token] += energy(wanted[token], moment).cpu()
    return Spread(
        Version(version.deltas, MappingProxyType(weights), version.tokens),
        {token: float((left[token] / whole[token]).sqrt()) if whole[token] else 0.0 for token in met},
        float(torch.stack(moved).mean().sqrt()),
    )


def _moment_at(base: BaseModel, version: Version, token: str, prompts: Sequence[str]) -> Tensor:
    """Mean of h h^T over the features h of `token` in `prompts`: (in, in) float64."""
    features = encode_prompts(base, prompts, version.tokens)
    rows = features.hidden[find_places(features, token)].double()
    return rows.T @ rows / max(1, len(rows))
