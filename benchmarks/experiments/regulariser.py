"""Experiment 2: one concept with L_reg = 0, and without subtracting the general neurons."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.bars import at_least, at_most
from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.record import Report, percent
from benchmarks.experiments.subjects import individual
from benchmarks.experiments.variants import AT_TOKEN, NOTICEABLE_SIMILARITY, OURS, PUBLISHED, UNGUARDED
from benchmarks.markdown import make_table
from benchmarks.svg import Bar, bar_chart

SUBJECT = "tiger"
NOTHING_GENERAL = {"selection": {"general_prompts": 0}}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "our guards": OURS,
    "our guards, M_general kept": {**OURS, **NOTHING_GENERAL},
    "at the token alone": AT_TOKEN,
    "L_reg as published": PUBLISHED,
    "L_reg = 0": UNGUARDED,
    "L_reg = 0, M_general kept": {**UNGUARDED, **NOTHING_GENERAL},
}


def measure(workshop: Workshop) -> dict[str, Any]:
    """The same concept learned on the bare base in each of these ways."""
    subject = individual(SUBJECT)
    deltas = {name: workshop.learn(subject, workshop.settings_with(changes)) for name, changes in VARIANTS.items()}
    published, without = deltas["L_reg as published"], deltas["L_reg = 0"]
    same = all(torch.equal(values, without.values[layer]) for layer, values in published.values.items())
    return {
        "subject": subject.called,
        "variants": {name: workshop.score(subject, delta) for name, delta in deltas.items()},
        "first_concept_needs_no_l_reg": same,
    }


def report(figures: Mapping[str, Any]) -> Report:
    """Whether general prompts survive without the regulariser, and what the general mask is for."""
    variants = figures["variants"]
    free, kept = variants["L_reg = 0"], variants["L_reg = 0, M_general kept"]
    ours, ours_kept = variants["our guards"], variants["our guards, M_general kept"]
    near = variants["at the token alone"]
    works = free["similarity"] >= 0.95 and free["lost"] <= 0.01
    sentences = [
        f"With L_reg = 0, general prompts {'still work' if works else 'do not stay as they were'}: their pictures are "
        f"{free['similarity']:.3f} alike to the base's and lose {percent(free['lost'], 1)} of their text alignment, "
        f"while {figures['subject']} comes {percent(free['way'])} of the way to its pictures; with our "
        f"guards these are {ours['similarity']:.3f}, {percent(ours['lost'], 1)} and {percent(ours['way'])}.",
        "For a first concept the published L_reg is empty, as no earlier concept owns anything, and the learned values "
        + (
            "are the same to the bit." if figures["first_concept_needs_no_l_reg"] else "should be the same but are NOT."
        ),
        f"With values that apply at the token alone general pictures are {near['similarity']:.3f} "
        f"alike to the base's, and the concept comes {percent(near['way'])} of the way.",
        _about_general(free, kept, "Without any guard"),
        _about_general(ours, ours_kept, "With ours"),
    ]
    rows = [
        (name, one["way"], one["clip_t"], one["similarity"], percent(one["lost"], 1), one["density"], one["values"])
        for name, one in variants.items()
    ]
    heads = ("", "way", "CLIP-T", "general similarity", "general CLIP-T lost", "density", "values")
    bars = [
        bar
        for name, one in (("L_reg = 0", free), ("our guards", ours), ("at the token alone", near))
        for bar in (
            at_least(f"similarity of general pictures to the base's, {name}", one["similarity"], 0.95),
            at_most(f"text alignment of general pictures lost, {name}", one["lost"], 0.01),
        )
    ]
    picture = bar_chart(
        [
            Bar(f"{name}: {what}", one[key], colour=colour)
            for name, one in variants.items()
            for colour, (key, what) in enumerate((("way", "concept's way"), ("similarity", "general pictures")))
        ],
        title=f"{figures['subject']} learned with and without L_reg and M_general",
        x_label="way to the concept's pictures; similarity of general pictures to the base's",
        goal=0.95,
    )
    return Report(
        "Without the regulariser, without the general mask",
        tuple(sentences),
        make_table(heads, rows),
        picture,
        tuple(bars),
    )


def _about_general(subtracted: Mapping[str, float], kept: Mapping[str, float], when: str) -> str:
    """What not subtracting M_general does to general prompts."""
    change = subtracted["similarity"] - kept["similarity"]
    figures = f"{subtracted['similarity']:.3f} to {kept['similarity']:.3f}"
    if change >= NOTICEABLE_SIMILARITY:
        verdict = f"costs general pictures likeness to the base's, {figures}: this is what it is for"
    elif change <= -NOTICEABLE_SIMILARITY:
        verdict = f"brings general pictures nearer to the base's, {figures}, against what is hoped of it"
    else:
        verdict = f"makes no difference to general pictures worth the name, {figures}"
    ways = f"{percent(subtracted['way'])} and {percent(kept['way'])}"
    return f"{when}, not subtracting M_general {verdict} (the concept's way: {ways})."
