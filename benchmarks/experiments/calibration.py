"""Experiment 5: how far M_general depends on the prompts it is calibrated with, and what that does to a learning."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.experiments.masks import jaccard
from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.record import Report, percent
from benchmarks.experiments.subjects import individual
from benchmarks.experiments.variants import NOTICEABLE_SIMILARITY, NOTICEABLE_WAY, UNGUARDED
from benchmarks.markdown import make_table
from benchmarks.svg import heat_map
from cns.selection import ConceptMasks, density, select_concept_neurons
from cns.settings import LearningSettings
from storybook.world import BACKGROUNDS, Scene, caption, place_one, place_two, random_thing

SUBJECT = "tiger"
ANIMALS = ("cat", "fish", "bird")
LANDSCAPE = ("tree", "house", "boat", "mushroom")
OUTDOORS = ("on the grass", "on the beach", "by the sea", "in the snow", "at night")
REFERENCE = "20 diverse"


def calibrations(diverse: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name -> prompts: twenty of each kind, and 5 to 40 of the diverse ones, the base's own list."""
    return {
        REFERENCE: tuple(diverse[:20]),
        "20 of animals": prompts_about(ANIMALS, BACKGROUNDS, 20, seed=61),
        "20 of landscape": prompts_about(LANDSCAPE, OUTDOORS, 20, seed=62),
        **{f"{count} diverse": tuple(diverse[:count]) for count in (5, 10, 40)},
    }


def prompts_about(nouns: Sequence[str], places: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """`count` different captions of scenes with nothing but `nouns`, before `places`: one thing and two in turn."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        things = [
            replace(random_thing(rng, plain_look=1.0), noun=str(rng.choice(nouns))) for _ in range(1 + len(found) % 2)
        ]
        placed = (place_one(rng, *things),) if len(things) == 1 else place_two(rng, *things)
        scene = Scene(placed, str(rng.choice(places)), "next to", 0)
        found[caption(scene, rng, whole=True)] = None
    return tuple(found)


def measure(workshop: Workshop) -> dict[str, Any]:
    """Jaccard indices of M_general and M_concept between all calibrations, and one learning with each of them.

    Learned without any guard, so that nothing but the general mask holds general prompts.
    """
    subject, found = individual(SUBJECT), {}
    sets = calibrations(workshop.calibration)
    masks = {name: select(workshop, prompts) for name, prompts in sets.items()}
    for name, prompts in sets.items():
        delta = workshop.learn(subject, settings_for(workshop, prompts), calibration=prompts)
        found[name] = workshop.score(subject, delta)
    return {"subject": subject.called, **compare(masks), "learnings": found}


def settings_for(workshop: Workshop, prompts: Sequence[str]) -> LearningSettings:
    """No guard, and as many calibration prompts as there are."""
    return workshop.settings_with({**UNGUARDED, "selection": {"general_prompts": len(prompts)}})


def select(workshop: Workshop, prompts: Sequence[str]) -> ConceptMasks:
    """The masks of the subject with these calibration prompts."""
    base, subject = workshop.base, individual(SUBJECT)
    captions = base.text_features(workshop.captions(subject), {f"<{subject.name}>": base.token_vectors(subject.noun)})
    selection = settings_for(workshop, prompts).selection
    return select_concept_neurons(base.kv_weights, captions, base.text_features(prompts), selection)


def compare(masks: Mapping[str, ConceptMasks]) -> dict[str, Any]:
    """Densities, and the Jaccard index of every two, as rows in the order of the names."""
    return {
        "names": list(masks),
        "general_density": {name: density(one.general) for name, one in masks.items()},
        "concept_density": {name: density(one.concept) for name, one in masks.items()},
        "jaccard_general": [[jaccard(a.general, b.general) for b in masks.values()] for a in masks.values()],
        "jaccard_concept": [[jaccard(a.concept, b.concept) for b in masks.values()] for a in masks.values()],
    }


def report(figures: Mapping[str, Any]) -> Report:
    """How alike the masks are, and whether it matters to what is learned."""
    names, learnings = figures["names"], figures["learnings"]
    general = dict(zip(names, figures["jaccard_general"][names.index(REFERENCE)], strict=True))
    concept = dict(zip(names, figures["jaccard_concept"][names.index(REFERENCE)], strict=True))
    others = [name for name in names if name != REFERENCE]
    by_count = ", ".join(f"{general[name]:.2f} with {name}" for name in others if name.endswith("diverse"))
    means = [sum(indices[name] for name in others) / len(others) for indices in (general, concept)]
    least = min(others, key=lambda name: concept[name])
    low, high = (percent(pick(figures["concept_density"].values()), 1) for pick in (min, max))
    sentences = [
        f"Against M_general from {REFERENCE} prompts, the Jaccard index is {general['20 of animals']:.2f} with animals "
        f"only, {general['20 of landscape']:.2f} with landscape only, {by_count}.",
        f"What is left to the concept agrees {'more' if means[1] > means[0] else 'less'} than that, {means[1]:.2f} "
        f"against {means[0]:.2f} in the mean, least with {least} ({concept[least]:.2f}); its share of K/V goes "
        f"from {low} to {high}.",
        _about_quality(learnings),
    ]
    rows = [
        (
            name,
            figures["general_density"][name],
            figures["concept_density"][name],
            general[name],
            concept[name],
            learnings[name]["way"],
            learnings[name]["similarity"],
            percent(learnings[name]["lost"], 1),
        )
        for name in names
    ]
    heads = (
        *("calibration", "M_general", "M_concept", "Jaccard of M_general", "of M_concept"),
        *("way", "general similarity", "general CLIP-T lost"),
    )
    picture = heat_map(
        figures["jaccard_general"], names, names, title="Jaccard index of M_general between calibrations", high=1.0
    )
    return Report("Robustness to the calibration prompts", tuple(sentences), make_table(heads, rows), picture)


def _about_quality(learnings: Mapping[str, Mapping[str, float]]) -> str:
    """Whether any calibration stands out, in the concept or in general prompts."""
    own = learnings[REFERENCE]
    told = [
        f"{name} ({one['way'] - own['way']:+.2f} of the way, {one['similarity'] - own['similarity']:+.3f} in general)"
        for name, one in learnings.items()
        if abs(one["way"] - own["way"]) >= NOTICEABLE_WAY
        or abs(one["similarity"] - own["similarity"]) >= NOTICEABLE_SIMILARITY
    ]
    opening = (
        f"Learned without any guard, {REFERENCE} prompts give {percent(own['way'])} of the way and general pictures "
        f"{own['similarity']:.3f} alike to the base's; "
    )
    if not told:
        return f"{opening}no other calibration differs by more than noise."
    return f"{opening}noticeably different: {', '.join(told)}."
