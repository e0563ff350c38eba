"""Experiment 3: concept A, then B, and A again: with and without L_reg, with our guards, and at the token alone."""

from collections.abc import Mapping
from typing import Any

from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.record import Report, percent
from benchmarks.experiments.subjects import individual
from benchmarks.experiments.variants import AT_TOKEN, NOTICEABLE_WAY, OURS, PUBLISHED, UNGUARDED
from benchmarks.markdown import make_table
from benchmarks.svg import Bar, bar_chart
from cns.metrics import clip_i

FIRST = "tiger"
SECONDS = {"another cat": "misty", "a house": "casa"}
# A first concept meets no L_reg, so that one learning of A serves both variants that differ in nothing else.
VARIANTS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "L_reg = 0": (UNGUARDED, UNGUARDED),
    "L_reg": (UNGUARDED, PUBLISHED),
    "our guards": (OURS, OURS),
    "at the token alone": (AT_TOKEN, AT_TOKEN),
}


def measure(workshop: Workshop) -> dict[str, Any]:
    """For each variant and each B: A right after its learning and after B's, and how B fares."""
    first = individual(FIRST)
    found: dict[str, Any] = {}
    for name, (changes_first, changes_second) in VARIANTS.items():
        a = workshop.learn(first, workshop.settings_with(changes_first))
        right_after = workshop.look_at(first, workshop.version(a))
        for kind, second_name in SECONDS.items():
            second = individual(second_name)
            b = workshop.learn(second, workshop.settings_with(changes_second), [a])
            again = workshop.look_at(first, workshop.version(a, b))
            of_second = workshop.likeness.image_features(second.references)
            found[f"{name}, then {kind}"] = {
                "variant": name,
                "second": second.called,
                "right_after": right_after.way,
                "again": again.way,
                "towards_second": clip_i(again.features, of_second) - clip_i(right_after.features, of_second),
                "mask_overlap": b.report["overlap"],
                **{f"second_{key}": value for key, value in workshop.score(second, b, a).items()},
            }
    return {"first": first.called, "sequences": found}


def report(figures: Mapping[str, Any]) -> Report:
    """What each variant leaves of A."""
    sequences = figures["sequences"]
    by_variant: dict[str, list[Mapping[str, Any]]] = {}
    for one in sequences.values():
        by_variant.setdefault(one["variant"], []).append(one)
    lost = {name: _mean([one["right_after"] - one["again"] for one in some]) for name, some in by_variant.items()}
    learned = {name: _mean([one["second_way"] for one in some]) for name, some in by_variant.items()}
    told = "; ".join(
        f"{name}: {percent(lost[name])} of the way lost by {figures['first']}, {percent(learned[name])} reached by B"
        for name in by_variant
    )
    sentences = [
        f"{figures['first']} again after a second concept, means over {len(SECONDS)} of them: {told}.",
        _compare(lost, "L_reg", "L_reg = 0"),
        _compare(lost, "our guards", "L_reg"),
        _compare(lost, "at the token alone", "our guards"),
    ]
    worst = max(sequences, key=lambda name: sequences[name]["right_after"] - sequences[name]["again"])
    shared = percent(sequences[worst]["mask_overlap"])
    sentences.append(f"The worst case is “{worst}”, where the second shares {shared} of its entries with the first.")
    heads = ("", "A right after", "A after B", "A moved towards B", "entries shared", "B", "general similarity")
    rows = [
        (
            name,
            *(one[key] for key in ("right_after", "again", "towards_second", "mask_overlap")),
            *(one[key] for key in ("second_way", "second_similarity")),
        )
        for name, one in sequences.items()
    ]
    picture = bar_chart(
        [
            Bar(f"{name}: {what}", one[key], colour=colour)
            for name, one in sequences.items()
            for colour, (key, what) in enumerate(
                (("right_after", "A right after"), ("again", "A after B"), ("second_way", "B"))
            )
        ],
        title="Concept A right after it was learned, A after B was learned, and B",
        x_label="way from the class noun (0) to the concept's own pictures (1)",
    )
    return Report("A, then B, then A again", tuple(sentences), make_table(heads, rows), picture)


def _compare(lost: Mapping[str, float], with_it: str, without: str) -> str:
    """What one variant keeps of A over another, in a sentence."""
    gain = lost[without] - lost[with_it]
    if gain >= NOTICEABLE_WAY:
        verdict = f"{percent(gain)} more of the way is kept than"
    elif gain <= -NOTICEABLE_WAY:
        verdict = f"{percent(-gain)} LESS of the way is kept than"
    else:
        verdict = "as much of the way is kept, but for noise, as"
    return f"With “{with_it}” {verdict} with “{without}” ({percent(lost[with_it])} and {percent(lost[without])} lost)."


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)
