"""Experiment 6: similar concepts. How shared entries and confusion grow with how alike two concepts are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.record import Report, percent
from benchmarks.experiments.subjects import Subject, individual
from benchmarks.markdown import make_table
from benchmarks.svg import Line, line_chart
from cns.metrics import clip_i

PAIRS = (("tiger", "misty"), ("cocoa", "latte"), ("tiger", "coral"), ("tiger", "casa"), ("cocoa", "dart"))
"""Two cats, two mugs; a cat and a fish, a cat and a house, a mug and a rocket. The second is learned on the first."""
STRONG = 0.5


def measure(workshop: Workshop) -> dict[str, Any]:
    """For each pair: likeness by CLIP in words and pictures, entries shared, who is taken for whom."""
    return {"pairs": [measure_pair(workshop, *map(individual, names)) for names in PAIRS]}


def measure_pair(workshop: Workshop, first: Subject, second: Subject) -> dict[str, Any]:
    """The second learned on the first, with the base's settings."""
    a = workshop.learn(first, workshop.settings)
    b = workshop.learn(second, workshop.settings, [a])
    words = workshop.clip.text_features([f"a photo of a {one.noun}" for one in (first, second)])
    seen = [workshop.clip.image_features(one.references) for one in (first, second)]
    right_after = workshop.look_at(first, workshop.version(a))
    again, newcomer = (workshop.look_at(one, workshop.version(a, b)) for one in (first, second))
    references = [workshop.likeness.image_features(one.references) for one in (first, second)]
    return {
        "first": first.called,
        "second": second.called,
        "likeness_in_words": float(words[0] @ words[1]),
        "likeness_in_pictures": clip_i(*seen),
        "shared_entries": b.report["overlap"],
        "first_taken_for_second": taken_for(again.features, *references),
        "second_taken_for_first": taken_for(newcomer.features, *reversed(references)),
        "first_leans": leans(again.features, *references),
        "second_leans": leans(newcomer.features, *reversed(references)),
        "first_lost": right_after.way - again.way,
        "second_way": newcomer.way,
    }


def taken_for(features: Tensor, own: Tensor, other: Tensor) -> float:
    """Share of pictures that are more like the other concept's references than like their own's. (n, width) each."""
    nearer = (features @ other.T).mean(dim=1) > (features @ own.T).mean(dim=1)
    return float(nearer.float().mean())


def leans(features: Tensor, own: Tensor, other: Tensor) -> float:
    """How near pictures are to the other concept, as a share of how near to their own; cosines below 0 are 0."""
    return max(0.0, clip_i(features, other)) / max(0.05, clip_i(features, own))


def report(figures: Mapping[str, Any]) -> Report:
    """How much of it grows with likeness."""
    pairs = figures["pairs"]
    likeness = [pair["likeness_in_pictures"] for pair in pairs]
    confusion = [(pair["first_taken_for_second"] + pair["second_taken_for_first"]) / 2 for pair in pairs]
    leaning = [(pair["first_leans"] + pair["second_leans"]) / 2 for pair in pairs]
    shared = [pair["shared_entries"] for pair in pairs]
    lost = [pair["first_lost"] for pair in pairs]
    worst = max(range(len(pairs)), key=lambda place: (confusion[place], leaning[place]))
    most = pairs[worst]
    sentences = [
        f"Over {len(pairs)} pairs, the share of the second concept's entries that the first owns too goes from "
        f"{percent(min(shared))} to {percent(max(shared))} and {_grows(likeness, shared)} with the likeness of their "
        "pictures.",
        (
            "No picture of one concept is nearer to the other's; "
            if max(confusion) == 0
            else f"Pictures are taken for the other concept's in {percent(max(confusion))} of cases at most, "
        )
        + f"most near it are {most['first']} and {most['second']}, which lean {percent(leaning[worst])} towards one "
        f"another; leaning {_grows(likeness, leaning)} with likeness.",
        f"What the first concept loses by the second is {percent(min(lost))} to {percent(max(lost))} of its way, and "
        f"{_grows(shared, lost)} with the entries they share.",
    ]
    heads = (
        *("pair", "likeness in words", "in pictures", "entries shared", "first taken for second", "second for first"),
        *("first leans", "second leans", "first lost", "second's way"),
    )
    keys = (
        *("likeness_in_words", "likeness_in_pictures", "shared_entries", "first_taken_for_second"),
        *("second_taken_for_first", "first_leans", "second_leans", "first_lost", "second_way"),
    )
    rows = [(f"{pair['first']}, {pair['second']}", *(pair[key] for key in keys)) for pair in pairs]
    order = np.argsort(likeness).tolist()
    series = {"entries shared": shared, "taken for the other": confusion, "leaning": leaning, "lost by the first": lost}
    picture = line_chart(
        [Line(name, [(likeness[place], numbers[place]) for place in order]) for name, numbers in series.items()],
        title="Two concepts, one learned on the other, by how alike their pictures are",
        x_label="likeness of the two concepts' pictures (CLIP)",
        y_label="share",
    )
    return Report("Similar concepts", tuple(sentences), make_table(heads, rows), picture)


def _grows(across: list[float], up: list[float]) -> str:
    """Whether one number grows with another, by their correlation."""
    if np.std(up) < 1e-6 or np.std(across) < 1e-6:
        return "does not change"
    correlation = float(np.corrcoef(across, up)[0, 1])
    if correlation >= STRONG:
        return f"grows (r = {correlation:.2f})"
    return f"falls (r = {correlation:.2f})" if correlation <= -STRONG else f"hardly changes (r = {correlation:.2f})"
