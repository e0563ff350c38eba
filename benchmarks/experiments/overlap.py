"""Experiment 1: which share of the entries that one prompt selects do others select too? (arXiv 2510.02296, Fig. 3)"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from benchmarks.bars import at_most
from benchmarks.experiments.masks import (
    channel_norms,
    decided_by_weights,
    layer_overlaps,
    masks_by_norms,
    mean_jaccard,
    mean_overlap,
    norm_correlation,
    shared_by_all,
    shared_channels,
    spread_of_norms,
    spread_of_weights,
)
from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.record import Report, percent
from benchmarks.experiments.subjects import individual
from benchmarks.markdown import make_table
from benchmarks.svg import heat_map
from cns.selection import overlap, prompt_masks, select_concept_neurons
from cns.settings import SelectionSettings
from storybook.world import COLOURS, article

PAPER, TOLERANCE = 0.53, 0.05
PROMPTS = 5
CONCEPTS = ("tiger", "cocoa", "casa")
TELLING = 3  # letters; shorter words ("a", "of", "in") say nothing about what a prompt shows


def words_of(prompt: str) -> set[str]:
    """The words that tell a prompt from others."""
    return {word.strip(",.").lower() for word in prompt.split() if len(word) >= TELLING} - {"the", "and"}


def differing(prompts: Sequence[str], count: int) -> list[str]:
    """`count` of `prompts`, the first and then always the one that shares the fewest words with those chosen."""
    chosen, left = [prompts[0]], list(prompts[1:])
    while len(chosen) < count and left:
        seen = set().union(*(words_of(prompt) for prompt in chosen))
        best = min(left, key=lambda prompt: len(words_of(prompt) & seen) / max(1, len(words_of(prompt))))
        left.remove(best)
        chosen.append(best)
    return chosen


def alike(prompt: str, count: int) -> list[str]:
    """`count` prompts that differ from `prompt` in one word, the first colour in it; one without gets a colour."""
    colours = tuple(COLOURS)
    named = next((word for word in prompt.split() if word in colours), "")
    told = f"{article(named)} {named}" if named else "a"
    others = [colour for colour in colours if colour not in words_of(prompt) - {named}]
    return [prompt.replace(told, f"{article(colour)} {colour}", 1) for colour in others[:count]]


def measure(workshop: Workshop) -> dict[str, Any]:
    """Overlaps of every pair in every layer with the base's settings; means of them with other settings and prompts."""
    base, selection = workshop.base, workshop.settings.selection
    prompts = differing(workshop.calibration, PROMPTS)
    features = base.text_features(prompts)
    similar = alike(prompts[0], PROMPTS)

    features, weights = base.text_features(prompts), base.kv_weights
    norms, norms_of_all = (channel_norms(features, own=own) for own in (True, False))
    masks = list(prompt_masks(weights, features, selection))

    def shared(of: Sequence[str] = prompts, **changes: Any) -> float:
        return mean_overlap(list(prompt_masks(weights, base.text_features(of), replace(selection, **changes))))

    return {
        "prompts": prompts,
        "prompts_alike": similar,
        "fraction": selection.fraction,
        "pairs": [list(pair) for pair in combinations(range(len(prompts)), 2)],
        "overlap_by_layer": layer_overlaps(masks),
        "overlap_of_pairs": [overlap(first, second) for first, second in combinations(masks, 2)],
        "mean": mean_overlap(masks),
        "jaccard": mean_jaccard(masks),
        "shared_by_all": shared_by_all(masks),
        "own_words": shared(norm_tokens="own"),
        "all_positions": shared(norm_tokens="all"),
        "rankings": {ranking: shared(ranking=ranking) for ranking in ("row", "layer", "global")},
        "top_tenth": shared(fraction=0.1),
        "alike": shared(similar),
        "alike_all_positions": shared(similar, norm_tokens="all"),
        "norms_squared": mean_overlap(masks_by_norms(weights, norms.square(), selection)),
        "decided_by_weights": decided_by_weights(weights, features, selection),
        "shared_channels": shared_channels(norms, selection.fraction),
        "norm_correlation": {"own_words": norm_correlation(norms), "all_positions": norm_correlation(norms_of_all)},
        "spread_of_weights": spread_of_weights(weights),
        "spread_of_norms": spread_of_norms(norms),
        "densities": {
            rule: densities(workshop, replace(selection, **changes)) for rule, changes in DENSITY_RULES.items()
        },
    }


# --- densities ------------------------------------------------------------------------------------------------------

DENSITY_RULES: Mapping[str, dict[str, Any]] = {
    "the settings": {},
    "a vote of a half": {"general_vote": 0.5},
    "a vote of all": {"general_vote": 1.0},
    "a vote of a half, all captions": {"general_vote": 0.5, "base_prompts": "all"},
}


def densities(workshop: Workshop, settings: SelectionSettings) -> dict[str, float]:
    """Mean share of K/V entries in M_base, M_general and M_concept over three concepts."""
    base, found = workshop.base, []
    general = base.text_features(workshop.calibration[: settings.general_prompts])
    for subject in map(individual, CONCEPTS):
        token = {f"<{subject.name}>": base.token_vectors(subject.noun)}
        captions = base.text_features(workshop.captions(subject), token)
        found.append(select_concept_neurons(base.kv_weights, captions, general, settings).densities())
    return {name: sum(one[name] for one in found) / len(found) for name in found[0]}


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any]) -> Report:
    """Whether the paper's figure was met, and what it depends on."""
    mean, chance = figures["mean"], figures["fraction"]
    distance = abs(mean - PAPER)
    common = figures["shared_by_all"]
    by_layer = [sum(row) / len(row) for row in figures["overlap_by_layer"].values()]
    range_told = (
        f"{percent(min(by_layer))} to {percent(max(by_layer))} layer by layer, {percent(chance)} would be chance"
    )
    sentences = [
        f"Two prompts that share few words have {percent(mean)} of their selected entries in common ({range_told}), "
        + ("as the paper's " if distance <= TOLERANCE else "not the paper's ")
        + f"{percent(PAPER)}; all five prompts have {percent(common)} in common"
        + (", which comes nearer to it" if abs(common - PAPER) < distance else "")
        + f", and the Jaccard index of two is {figures['jaccard']:.2f}.",
        _why(figures),
        f"Prompts that differ in one word share {percent(figures['alike'])}; with all positions in the norm, not "
        f"the prompt's own alone, different prompts share {percent(figures['all_positions'])} and those that differ in "
        f"one word {percent(figures['alike_all_positions'])}.",
    ]
    return Report(
        "Overlap of selected neurons between prompts",
        tuple(sentences),
        _tables(figures),
        _picture(figures),
        (at_most("distance of the mean overlap of two prompts from the paper's 0.53", distance, TOLERANCE),),
    )


def _picture(figures: Mapping[str, Any]) -> str:
    rows = {short_layer(layer): shares for layer, shares in figures["overlap_by_layer"].items()}
    rows["all layers"] = figures["overlap_of_pairs"]
    return heat_map(
        [[*shares, sum(shares) / len(shares)] for shares in rows.values()],
        list(rows),
        [*(f"{first + 1}-{second + 1}" for first, second in figures["pairs"]), "mean"],
        title="Share of selected entries that two prompts have in common",
        low=figures["fraction"],
        high=1.0,
    )


def short_layer(layer: str) -> str:
    """ "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k" -> "down 0.0 K"."""
    block = layer.partition("_")[0]
    numbers = [part for part in layer.split(".") if part.isdigit()]
    if len(numbers) > 2 or block == "mid":
        numbers = numbers[:-1]  # the transformer block's, of which most bases have one in each place
    return f"{block} {'.'.join(numbers)} {layer[-1].upper()}"


def _why(figures: Mapping[str, Any]) -> str:
    """What decides the overlap: weights that differ more than features do, or features."""
    weights, norms = figures["spread_of_weights"], figures["spread_of_norms"]
    strong = "weights" if weights > norms else "features"
    return (
        f"The {strong} decide: log |W| varies by {weights:.2f} within a row, the log of a channel's norm by "
        f"{norms:.2f} within a prompt, and {percent(figures['decided_by_weights'])} of a selection is what the weights "
        f"alone would choose; with equal weights two prompts would share {percent(figures['shared_channels'])}, with "
        f"squared norms {percent(figures['norms_squared'])}."
    )


def _tables(figures: Mapping[str, Any]) -> str:
    correlation, rankings = figures["norm_correlation"], figures["rankings"]
    shares = [
        ("norm over the prompts' own words", figures["own_words"], correlation["own_words"]),
        ("norm over all positions", figures["all_positions"], correlation["all_positions"]),
        ("ranked in rows", rankings["row"], ""),
        ("ranked in layers", rankings["layer"], ""),
        ("ranked over all layers", rankings["global"], ""),
        ("the best tenth", figures["top_tenth"], ""),
        ("prompts that differ in one word", figures["alike"], ""),
        ("the same, norm over all positions", figures["alike_all_positions"], ""),
        ("norms squared", figures["norms_squared"], ""),
        ("norms alone, all weights equal", figures["shared_channels"], ""),
        ("weights alone, all norms equal", 1.0, ""),
        ("chance", figures["fraction"], ""),
    ]
    masks = [(rule, one["base"], one["general"], one["concept"]) for rule, one in figures["densities"].items()]
    listed = [f"{place}. {prompt}" for place, prompt in enumerate(figures["prompts"], 1)]
    return "\n\n".join(
        [
            make_table(("five prompts, all pairs", "mean overlap", "correlation of the norms"), shares),
            make_table((f"share of K/V entries ({', '.join(CONCEPTS)})", "M_base", "M_general", "M_concept"), masks),
            "The five prompts:\n\n" + "\n".join(listed),
        ]
    )
