"""Which entries of the key and value projections belong to a concept. Features in, masks out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from cns.settings import Ranking, SelectionSettings
from cns.text import TextFeatures

Masks = Mapping[str, Tensor]
"""Layer -> (out, in) bool."""


def weight_scores(weight: Tensor, inputs: Tensor) -> Tensor:
    """S(W, c)[o, i] = |W[o, i]| * ||c[:, i]||_2: how strongly a prompt drives each entry (arXiv 2510.02296, Sec. 3).

    weight   (out, in)
    inputs   (tokens, in) text features that the layer reads
    returns  (out, in) float32, non-negative
    """
    return weight.float().abs() * inputs.float().norm(dim=0)


def top_fraction(scores: Mapping[str, Tensor], fraction: float, ranking: Ranking = "row") -> Masks:
    """The best `fraction` of entries, ranked within each output row, each layer, or over all layers.

    scores   layer -> (out, in)
    returns  layer -> (out, in) bool with exactly the rounded count of True per row, per layer or in all (at least one)
    """
    if ranking == "row":
        return {layer: _best_of_rows(score, fraction) for layer, score in scores.items()}
    if ranking == "layer":
        return {
            layer: _best_of_rows(score.reshape(1, -1), fraction).view(score.shape) for layer, score in scores.items()
        }
    joined = torch.cat([score.flatten() for score in scores.values()])
    chosen = _best_of_rows(joined.view(1, -1), fraction).flatten()
    parts = chosen.split([score.numel() for score in scores.values()])
    return {layer: part.view(score.shape) for (layer, score), part in zip(scores.items(), parts, strict=True)}


def _best_of_rows(scores: Tensor, fraction: float) -> Tensor:
    keep = max(1, round(fraction * scores.shape[1]))
    best = scores.topk(keep, dim=1, sorted=False).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best, True)


def prompt_masks(weights: Mapping[str, Tensor], features: TextFeatures, settings: SelectionSettings) -> Iterator[Masks]:
    """top(S) of each prompt of `features` in turn: one at a time, because a mask of a large base is large."""
    for hidden, own in zip(features.hidden, features.own, strict=True):
        kept = hidden[own] if settings.norm_tokens == "own" else hidden
        if settings.ranking == "global":
            yield top_fraction(_score(weights, kept), settings.fraction, "global")
        else:  # layer by layer, because scores are four times as large as masks
            yield {
                layer: mask
                for layer, weight in weights.items()
                for mask in top_fraction(_score({layer: weight}, kept), settings.fraction, settings.ranking).values()
            }


def _score(weights: Mapping[str, Tensor], inputs: Tensor) -> Mapping[str, Tensor]:
    return {layer: weight_scores(weight, inputs) for layer, weight in weights.items()}


@dataclass(frozen=True)
class ConceptMasks:
    """What a selection found.

    base: entries that the concept's captions select. general: entries that general prompts consistently select.
    concept: base and not general (Eq. 6): these will be learned.
    """

    base: Masks
    general: Masks
    concept: Masks

    def densities(self) -> dict[str, float]:
        """Share of all entries that are True, for each of the three masks."""
        named = {"base": self.base, "general": self.general, "concept": self.concept}
        return {name: density(masks) for name, masks in named.items()}


Selector = Callable[[Mapping[str, Tensor], TextFeatures, TextFeatures | None, SelectionSettings], ConceptMasks]
"""(K/V weights of the version, features of the captions, of the calibration prompts if any, settings) -> masks."""


def select_concept_neurons(
    weights: Mapping[str, Tensor], captions: TextFeatures, calibration: TextFeatures | None, settings: SelectionSettings
) -> ConceptMasks:
    """Concept Neuron Selection: M_concept = M_base AND NOT M_general (arXiv 2510.02296, Eq. 6).

    M_base is the AND over the captions (or the first one's mask). M_general holds the entries that at least
    `general_vote` of the calibration prompts select; 1 is the AND over all of them. Without calibration prompts it is
    empty, which shows what it is for.
    """
    base: dict[str, Tensor] = {}
    for masks in prompt_masks(weights, captions, settings):
        if base and settings.base_prompts == "first":
            break
        base = {layer: mask & base[layer] if base else mask for layer, mask in masks.items()}
    general = general_neurons(weights, calibration, settings)
    return ConceptMasks(base, general, {layer: base[layer] & ~general[layer] for layer in base})


def general_neurons(
    weights: Mapping[str, Tensor], calibration: TextFeatures | None, settings: SelectionSettings
) -> Masks:
    """M_general: the entries that at least `general_vote` of the calibration prompts select; none without prompts.

    Votes are counted prompt by prompt, so that never more than one prompt's mask is held.
    """
    if calibration is None:
        return {layer: torch.zeros_like(weight, dtype=torch.bool) for layer, weight in weights.items()}
    votes = {layer: torch.zeros_like(weight, dtype=torch.int16) for layer, weight in weights.items()}
    for masks in prompt_masks(weights, calibration, settings):
        for layer, mask in masks.items():
            votes[layer] += mask
    needed = settings.general_vote * len(calibration.hidden) - 1e-6  # 0.15 of 20 is 3, also in floating point
    return {layer: vote >= needed for layer, vote in votes.items()}


def density(masks: Masks) -> float:
    """Share of True over all layers."""
    return sum(int(mask.sum()) for mask in masks.values()) / max(1, sum(mask.numel() for mask in masks.values()))


def overlap(first: Masks, second: Masks) -> float:
    """Share of the entries of `first` that are in `second` too; 0 where `first` is empty. Layers absent are empty."""
    shared = sum(int((mask & second[layer].to(mask.device)).sum()) for layer, mask in first.items() if layer in second)
    return shared / max(1, sum(int(mask.sum()) for mask in first.values()))


def prompt_overlap(weights: Mapping[str, Tensor], features: TextFeatures, settings: SelectionSettings) -> float:
    """Mean share of selected entries that two prompts have in common, over all pairs (the paper's Fig. 3: about 0.53).

    Holds every prompt's mask at once: meant for a handful of prompts.
    """
    masks = list(prompt_masks(weights, features, settings))
    if len(masks) < 2:
        raise ValueError("An overlap needs at least two prompts.")
    pairs = [overlap(first, second) for first, second in combinations(masks, 2)]
    return sum(pairs) / len(pairs)
