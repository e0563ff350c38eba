"""Experiment 4: the share of entries that counts as a prompt's own, 10 to 50 %: fidelity against preservation."""

from collections.abc import Mapping
from typing import Any

from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.record import Report, percent
from benchmarks.experiments.subjects import individual
from benchmarks.experiments.variants import AT_TOKEN, NOTICEABLE_SIMILARITY, NOTICEABLE_WAY, OURS, UNGUARDED
from benchmarks.markdown import make_table
from benchmarks.svg import Line, line_chart

SUBJECT = "tiger"
FRACTIONS = (0.1, 0.2, 0.3, 0.5)
PAPER = 0.3
VARIANTS = {"our guards": OURS, "no guard": UNGUARDED, "at the token alone": AT_TOKEN}


def measure(workshop: Workshop) -> dict[str, Any]:
    """One concept at every fraction, with the base's guards, without any, and where nothing needs guarding."""
    subject = individual(SUBJECT)
    found = {}
    for name, changes in VARIANTS.items():
        for fraction in FRACTIONS:
            settings = workshop.settings_with({**changes, "selection": {"fraction": fraction}})
            scores = workshop.score(subject, workshop.learn(subject, settings))
            found[f"{name}, {percent(fraction)}"] = {"variant": name, "fraction": fraction, **scores}
    return {"subject": subject.called, "learnings": found}


def report(figures: Mapping[str, Any]) -> Report:
    """How the two pull against each other, and whether the paper's 30 % is a good place."""
    learnings = figures["learnings"]
    series = {
        name: [one for one in learnings.values() if one["variant"] == name]
        for name in dict.fromkeys(one["variant"] for one in learnings.values())
    }
    sentences = [_trade(name, some) for name, some in series.items()]
    sentences.append(_about_paper(series))
    rows = [
        (name, one["way"], one["similarity"], percent(one["lost"], 1), one["density"], one["values"])
        for name, one in learnings.items()
    ]
    heads = ("", "way", "general similarity", "general CLIP-T lost", "density", "values")
    lines = [
        Line(f"{what}, {name}", [(100 * one["fraction"], one[key]) for one in some])
        for name, some in series.items()
        for key, what in (("way", "concept"), ("similarity", "general"))
    ]
    picture = line_chart(
        lines,
        title=f"{figures['subject']} by the share of entries that counts as a prompt's own",
        x_label="top share of entries, %",
        y_label="concept: way to its pictures; general: similarity to the base's",
    )
    return Report("Threshold sensitivity", tuple(sentences), make_table(heads, rows), picture)


def _trade(name: str, some: list[Mapping[str, Any]]) -> str:
    few, many = some[0], some[-1]
    gained, given = many["way"] - few["way"], few["similarity"] - many["similarity"]
    ends = f"{percent(few['fraction'])} to {percent(many['fraction'])}"
    way = f"{percent(few['way'])} to {percent(many['way'])} of the way"
    general = f"{few['similarity']:.3f} to {many['similarity']:.3f}"
    fidelity = (
        "more faithful" if gained >= NOTICEABLE_WAY else "less faithful" if gained <= -NOTICEABLE_WAY else "as it was"
    )
    kept = (
        "drift further"
        if given >= NOTICEABLE_SIMILARITY
        else "come nearer to the base's"
        if given <= -NOTICEABLE_SIMILARITY
        else "stay as they were"
    )
    how = name[0].upper() + name[1:] if name.startswith("at ") else f"With {name}"
    return f"{how}, from {ends} the concept is {fidelity} ({way}) and general pictures {kept} ({general})."


def _about_paper(series: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """Whether another fraction is better than the paper's in one respect and no worse in the other."""
    better = []
    for name, some in series.items():
        own = next(one for one in some if one["fraction"] == PAPER)
        better += [
            f"{percent(one['fraction'])} ({name})"
            for one in some
            if one["way"] - own["way"] >= NOTICEABLE_WAY
            and own["similarity"] - one["similarity"] < NOTICEABLE_SIMILARITY
        ]
    if better:
        listed = ", ".join(better)
        return f"The paper's {percent(PAPER)} is not the best here: nearer to the concept at no cost is {listed}."
    return f"No other share is nearer to the concept than the paper's {percent(PAPER)} without a cost to the rest."
