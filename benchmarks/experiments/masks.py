"""What masks have in common, and where it comes from: tensors in, shares out."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations

import torch
from torch import Tensor

from cns.selection import Masks, density, overlap, prompt_masks, top_fraction, weight_scores
from cns.settings import SelectionSettings
from cns.text import TextFeatures

Weights = Mapping[str, Tensor]


def both(first: Masks, second: Masks) -> Masks:
    """The entries that are in both."""
    return {layer: mask & second[layer] for layer, mask in first.items()}


def jaccard(first: Masks, second: Masks) -> float:
    """Entries in both as a share of those in either, 0..1; 1 for two empty masks."""
    shared = sum(int((mask & second[layer]).sum()) for layer, mask in first.items())
    either = sum(int((mask | second[layer]).sum()) for layer, mask in first.items())
    return shared / either if either else 1.0


def mean_overlap(masks: Sequence[Masks]) -> float:
    """Mean over all pairs of the share of one's entries that the other has too."""
    pairs = [overlap(first, second) for first, second in combinations(masks, 2)]
    return sum(pairs) / len(pairs)


def mean_jaccard(masks: Sequence[Masks]) -> float:
    """Mean Jaccard index over all pairs."""
    pairs = [jaccard(first, second) for first, second in combinations(masks, 2)]
    return sum(pairs) / len(pairs)


def shared_by_all(masks: Sequence[Masks]) -> float:
    """Entries that every mask has, as a share of those that one has."""
    return density(reduce(both, masks)) / (sum(map(density, masks)) / len(masks))


def layer_overlaps(masks: Sequence[Masks]) -> dict[str, list[float]]:
    """Layer -> the overlap of each pair in it, in the order of `itertools.combinations`."""
    return {
        layer: [overlap({layer: first[layer]}, {layer: second[layer]}) for first, second in combinations(masks, 2)]
        for layer in masks[0]
    }


# --- where an overlap comes from --------------------------------------------------------------------------------------


def masks_by_norms(weights: Weights, norms: Tensor, settings: SelectionSettings) -> list[Masks]:
    """top(S) for given strengths of the channels. norms (prompts, in): what stands for ||c[:, i]|| of each prompt."""
    return [
        top_fraction(
            {layer: weight_scores(weight, row[None]) for layer, weight in weights.items()},
            settings.fraction,
            settings.ranking,
        )
        for row in norms
    ]


def decided_by_weights(weights: Weights, features: TextFeatures, settings: SelectionSettings) -> float:
    """Mean share of a prompt's entries that would be selected too if all channels were equally strong."""
    even = torch.ones_like(channel_norms(features, own=True)[:1])
    alone = masks_by_norms(weights, even, settings)[0]
    shares = [overlap(masks, alone) for masks in prompt_masks(weights, features, settings)]
    return sum(shares) / len(shares)


def shared_channels(norms: Tensor, fraction: float) -> float:
    """Mean overlap of two prompts' strongest channels, `fraction` of them: what equal weights would give."""
    return mean_overlap([{"channels": mask[None]} for mask in _strongest(norms, fraction)])


def _strongest(norms: Tensor, fraction: float) -> Tensor:
    return top_fraction({"channels": norms}, fraction)["channels"]


def channel_norms(features: TextFeatures, *, own: bool) -> Tensor:
    """||c[:, i]|| of every prompt, (prompts, in): over its own tokens, or over all positions."""
    rows = [hidden[mine] if own else hidden for hidden, mine in zip(features.hidden, features.own, strict=True)]
    return torch.stack([row.float().norm(dim=0) for row in rows])


def norm_correlation(norms: Tensor) -> float:
    """Mean correlation, over pairs of prompts, of how strong their channels are: 1 where all prompts are alike."""
    table = torch.corrcoef(norms)
    others = ~torch.eye(len(table), dtype=torch.bool, device=table.device)
    return float(table[others].mean())


def spread_of_norms(norms: Tensor) -> float:
    """Standard deviation of log ||c[:, i]|| over the channels of a prompt, mean over prompts."""
    return float(norms.clamp(min=1e-12).log().std(dim=1).mean())


def spread_of_weights(weights: Weights) -> float:
    """Standard deviation of log |W[o, i]| within an output row, mean over all rows."""
    spreads = [weight.float().abs().clamp(min=1e-12).log().std(dim=1) for weight in weights.values()]
    return float(torch.cat(spreads).mean())
