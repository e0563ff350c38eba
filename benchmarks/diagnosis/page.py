"""docs/diagnosis.md from the results' file: nothing in it is written by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.diagnosis.fitting import MEASURED, Sample, values_of
from benchmarks.diagnosis.histogram import draw_histogram
from benchmarks.diagnosis.plan import RECIPES
from benchmarks.diagnosis.report import SIGNATURES
from benchmarks.diagnosis.running import Record
from benchmarks.markdown import make_table

COMMAND = "python -m benchmarks.diagnosis"
TITLES = {
    "underfitting": "Underfitting: share of the way from the class noun to the pictures",
    "similarity": "Zero-shot damage: similarity of generic pictures to the base's own",
    "alignment": "Zero-shot damage: share of the fit between text and picture that was lost",
    "bleeding": "Bleeding: share of the way gone towards the new concept, or lost at its arrival",
    "forgetting": "Forgetting: share of the way lost since right after learning",
}


def draw_figures(results: Mapping[str, Any]) -> dict[str, str]:
    """Name of a measure -> its histogram as SVG, for those of which there are values."""
    samples = _samples(results)
    figures = {}
    for name, title in TITLES.items():
        well, ill = values_of(samples, name)
        limits = results["thresholds"]
        if well or ill:
            figures[name] = draw_histogram(title, well, ill, limits[f"{name}_warn"], limits[f"{name}_bad"])
    return figures


def write_page(results: Mapping[str, Any], figure_folder: str) -> str:
    """The page as Markdown. figure_folder: where the figures lie, seen from the page."""
    cases = results["cases"]
    stages = {(one["stage"], one["split"]) for one in cases}
    fitted = sum(split == "fit" for _, split in stages)
    parts = [
        "# What the diagnosis is worth",
        f"Written by `{COMMAND} page` from `benchmarks/results/diagnosis.json`, which `{COMMAND} run` measures.",
        "Learnings were made to have each failure signature, and others made not to have it, on individuals of the "
        f"storybook that the demo does not use. There are {len(cases)} of them, each on top of a history of two "
        f"concepts. Thresholds were set on the learnings of {fitted} of the {len(stages)} histories, and are judged on "
        "those of the others.",
    ]
    if results.get("quick"):
        parts.append("**This was a quick run, made to try the command: learnings too short to say anything.**")
    parts += ["## How they were learned", _recipes(cases)]
    parts += ["## What was measured, and the thresholds"]
    parts += [f"![{TITLES[name]}]({figure_folder}/{name}.svg)" for name in draw_figures(results)]
    parts += [_thresholds(results["thresholds"])]
    for split, told in (("held out", "on the histories held out"), ("fit", "on the histories they were set on")):
        parts += [f"## Confusion {told}", _confusion(results["confusion"][split])]
    parts += [
        "Where a recipe is made neither to have a signature nor to be free of it, as with bleeding far above the usual "
        "rate, it is not counted: nobody knows beforehand. What was found of each recipe:",
        _by_recipe(results["found_by_recipe"]),
        "## What the remedies are worth",
        "Each learning that was made to have a signature was learned again, on the same version and from the same "
        "pictures, with the settings that its remedy names. Counted are those in which the signature had been found. "
        "Where a recipe strays from the base's settings, its remedy mostly leads back to them, so that this says as "
        "much of those settings as of the remedy.",
        _cures(results),
        "## Where it was measured",
        f"{results['machine']['processor']}, {results['machine']['cores']} cores; "
        + ", ".join(f"{name} {number}" for name, number in results["versions"].items())
        + f". Base {results['base_id'][:12]}.",
    ]
    return "\n\n".join(parts) + "\n"


def _samples(results: Mapping[str, Any]) -> list[Sample]:
    recipes = {recipe.name: recipe for recipe in RECIPES}
    records = [Record.from_json(case) for case in results["cases"]]
    return [Sample(one.measures, recipes[one.recipe].made_for, recipes[one.recipe].free_of) for one in records]


def _recipes(cases: Sequence[Mapping[str, Any]]) -> str:
    made = [one["recipe"] for one in cases]
    rows = [
        (one.name, one.told, ", ".join(sorted(one.made_for)) or "nothing", made.count(one.name))
        for one in RECIPES
        if one.name in made
    ]
    return make_table(("recipe", "learned with", "made to have", "learnings"), rows, words=3)


def _thresholds(limits: Mapping[str, float]) -> str:
    rows = [
        (name, "above" if high else "below", limits[f"{name}_warn"], limits[f"{name}_bad"])
        for name, (_, _, high) in MEASURED.items()
    ]
    return make_table(("measure", "wrong", "warn", "bad"), rows)


def _confusion(confusion: Mapping[str, Mapping[str, int]]) -> str:
    heads = (
        "signature",
        "has it, found",
        "has it, missed",
        "free of it, found",
        "free of it, not found",
        "free of it, bad",
    )
    keys = ("found", "missed", "false_alarms", "rightly_quiet", "wrongly_bad")
    return make_table(heads, [(name, *(confusion[name][key] for key in keys)) for name in SIGNATURES])


def _by_recipe(found: Mapping[str, Mapping[str, str]]) -> str:
    return make_table(
        ("recipe", *SIGNATURES), [(name, *(row[one] for one in SIGNATURES)) for name, row in found.items()]
    )


def _cures(results: Mapping[str, Any]) -> str:
    bars = {bar["name"]: bar for bar in results["bars"]}
    rows = []
    for name in SIGNATURES:
        cure, bar = results["cures"][name], bars[f"the remedy removes {name}"]
        outcome = "not tried" if bar["value"] is None else "yes" if bar["holds"] else "no"
        rows.append((name, cure["tried"], cure["removed"], f"{bar['goal']:.0%}".replace("%", " %"), outcome))
    return make_table(("signature", "tried", "removed", "goal", "reached"), rows)
