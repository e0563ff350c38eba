"""The part of the benchmark's page that says with which settings, and on which evidence."""

from collections.abc import Mapping
from typing import Any

from benchmarks.continual.tuning import tuned_alike
from benchmarks.markdown import make_table

Results = Mapping[str, Any]


def describe_settings(results: Results, tuning: Results | None) -> str:
    """The options that each method was run with, and what their search found where it was on this base."""
    options = {cell["method"]: (cell["title"], cell["options"]) for cell in results["cells"]}
    said = [
        (title, ", ".join(f"`{name}` {value:g}" for name, value in chosen.items()) or "none")
        for title, chosen in options.values()
    ]
    table = make_table(("method", "options"), said, words=2) + "\n"
    if tuning is None or not tuned_alike(tuning["setup"], results["setup"]):
        return "Not tuned: every method has its defaults.\n\n" + table
    tuned = tuning["methods"]
    counts = ", ".join(f"{one['title']}: {len(one['trials'])}" for one in tuned.values())
    told = (
        f"Chosen by `python -m benchmarks.continual tune` on other concepts ({', '.join(tuning['concepts'])}); "
        f"trials: {counts}. What seems to matter most to each, by how far the mean scores of its values lie apart; a "
        "hint and no more, as most trials differ in several settings at once:\n"
    )
    effects = [
        (
            one["title"],
            ", ".join(f"`{name}` {found['range']:.3f}" for name, found in one["sensitivity"].items()),
            one["best"]["score"],
        )
        for one in tuned.values()
    ]
    evidence = make_table(("method", "settings by their effect", "best score"), effects, words=2)
    return f"{table}\n{told}\n{evidence}\n"


def describe_sweep(sweep: Results) -> str:
    """Score at each value of each setting with all others at their defaults, the settings that matter most first."""
    lines = [
        (f"`{name}`", ", ".join(f"{one['value']:g}: {one['score']:.3f}" for one in found["means"]), found["range"])
        for name, found in sweep["sensitivity"].items()
    ]
    table = make_table(("setting", "score at each value", "moves the score by"), lines, words=2)
    told = (
        "By `python -m benchmarks.continual sweep`, one setting changed at a time, on "
        f"{', '.join(sweep['concepts'])}. The score is the image alignment at the end and a tenth as much how "
        "near two concepts in a picture have come, less a fine for harm to generic prompts "
        "(`benchmarks/continual/tuning.py`). Words are numbered from 0: `ranking` row, layer, global; "
        "`norm_tokens` own, all; `base_prompts` all, first; `reach` everywhere, token; `flip` no, yes. Pieces of the "
        "pictures (`crops`) were tried on other individuals ([0029](decisions/0029-pieces-of-pictures.md)).\n\n"
    )
    left = ", ".join(f"`{name}`" for name in sweep["left"])
    return f"{told}{table}\n" + (f"\nNot tried so: {left}.\n" if left else "")
