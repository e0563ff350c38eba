"""From records to figures: thresholds, confusion, what became of remedies, and whether the bars hold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.bars import Bar
from benchmarks.diagnosis.fitting import Sample, fit_thresholds
from benchmarks.diagnosis.measures import judge
from benchmarks.diagnosis.plan import RECIPES
from benchmarks.diagnosis.running import Record
from cns.diagnosis import Thresholds
from cns.remedies import Signature

GOAL = 0.8  # share of cases in which a remedy must remove the signature
SIGNATURES: tuple[Signature, ...] = ("underfitting", "zero-shot damage", "bleeding", "forgetting")


@dataclass(frozen=True)
class Confusion:
    """Learnings made to have a signature, and those made not to have it, by whether it was found (warn or bad).

    wrongly_bad: of those made not to have it, how many were even called bad, which holds a version back from head.
    """

    found: int
    missed: int
    false_alarms: int
    rightly_quiet: int
    wrongly_bad: int


@dataclass(frozen=True)
class Cure:
    """Of learnings made for a signature and found to have it: how many, and in how many the remedy removed it."""

    tried: int
    removed: int


def fit(records: Sequence[Record]) -> Thresholds:
    """Thresholds from the stages that are there to set them."""
    return fit_thresholds([_sample(record) for record in records if record.split == "fit"], Thresholds())


def confuse(records: Sequence[Record], limits: Thresholds) -> dict[Signature, Confusion]:
    """Signature -> how it was judged in these records."""
    outcome: dict[Signature, Confusion] = {}
    judged = [(_sample(record), judge(record.measures, limits)) for record in records]
    for signature in SIGNATURES:
        ill = [found[signature] for sample, found in judged if signature in sample.made_for]
        well = [found[signature] for sample, found in judged if signature in sample.free_of]
        outcome[signature] = Confusion(
            found=sum(level != "ok" for level in ill),
            missed=ill.count("ok"),
            false_alarms=sum(level != "ok" for level in well),
            rightly_quiet=well.count("ok"),
            wrongly_bad=well.count("bad"),
        )
    return outcome


def count_cures(records: Sequence[Record], limits: Thresholds) -> dict[Signature, Cure]:
    """Signature -> what became of its remedy."""
    cures: dict[Signature, Cure] = {}
    for signature in SIGNATURES:
        after = [
            judge(remedied.measures, limits)[signature]
            for record in records
            for remedied in record.remedies
            if remedied.signature == signature and judge(record.measures, limits)[signature] != "ok"
        ]
        cures[signature] = Cure(len(after), after.count("ok"))
    return cures


def rate_by_recipe(records: Sequence[Record], limits: Thresholds) -> dict[str, dict[Signature, str]]:
    """Recipe -> signature -> "2 of 5": in how many of its learnings it was found."""
    table: dict[str, dict[Signature, str]] = {}
    for recipe in RECIPES:
        found = [judge(record.measures, limits) for record in records if record.recipe == recipe.name]
        if found:
            table[recipe.name] = {
                signature: f"{sum(one[signature] != 'ok' for one in found)} of {len(found)}" for signature in SIGNATURES
            }
    return table


def make_bars(cures: dict[Signature, Cure]) -> list[Bar]:
    """One for each signature; without a case to try there is no value, and nothing holds."""
    bars = []
    for signature, cure in cures.items():
        value = round(cure.removed / cure.tried, 3) if cure.tried else None
        bars.append(Bar(f"the remedy removes {signature}", value, GOAL, value is not None and value >= GOAL))
    return bars


def make_results(records: Sequence[Record], about: dict[str, Any]) -> dict[str, Any]:
    """What is written to the results' file: everything that the page needs. about: machine, versions, base, quick."""
    limits, held_out = fit(records), [record for record in records if record.split == "held out"]
    cures = count_cures(records, limits)
    return {
        **about,
        "thresholds": asdict(limits),
        "confusion": {
            split: {signature: asdict(one) for signature, one in confuse(part, limits).items()}
            for split, part in (("fit", [one for one in records if one.split == "fit"]), ("held out", held_out))
        },
        "found_by_recipe": rate_by_recipe(records, limits),
        "cures": {signature: asdict(cure) for signature, cure in cures.items()},
        "bars": [asdict(bar) for bar in make_bars(cures)],
        "cases": [record.to_json() for record in records],
    }


def _sample(record: Record) -> Sample:
    recipe = next(recipe for recipe in RECIPES if recipe.name == record.recipe)
    return Sample(record.measures, recipe.made_for, recipe.free_of)
