"""What a reader of the benchmark's page must know before comparing: said from the results, whatever they are."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from benchmarks.continual.summary import JUDGES
from benchmarks.continual.tuning import GENERIC_GOAL, RATES, TEXT_GOAL, tuned_alike

Results = Mapping[str, Any]

DIFFERENCES = (
    "The steps, the batch, how time steps are drawn and how rates rise and fall are the base's own learning settings, "
    "which were chosen for our method (docs/decisions/0007, 0010). Others begin at rates of weights of their own, "
    "and at half of its rate of the token, Textual Inversion at the whole of it. Tuning finds each method rates of its "
    "own, but leaves the steps as they are.",
    "Custom Diffusion has pictures of the class beside the concept's only where tuning gave it a `prior_weight`. A "
    "method with such a prior sees as many of them as of the concept's, on top of the budget. Its token and "
    "DreamBooth's begin at the class noun and are trained, where the originals take a rare word; DreamBooth's "
    "originals do not train it.",
    "CNS as published begins with the base's `l1`, `l2` and `general_vote`, which were chosen beside our guards. "
    "ED-LoRA leaves the text encoder as it is, and a trained word stands for the class noun too; Mix-of-Show is asked "
    "by the prompt alone, without regions, and its fusion is solved in closed form. C-LoRA's captions and prompts "
    "leave the class noun out where its `says_noun` is 0, as published.",
    "The concepts on which settings were tuned are others than these; the generic prompts are the same. Our own method "
    "was given its form there too (0010 to 0026, and the sweep below), which no other was. Two parts of "
    "our method at the token were looked at on these concepts before they were settled: alternatives to each concept "
    "in its own place on this stream's own pairs (docs/decisions/0024), and those to guidance at the noisiest levels "
    "on its style and its place (0025; its one number was chosen on the validation stream's style).",
    "Pictures of several concepts are made by our method at the token with each concept in its own place (0024), and "
    "those of a style or a place are guided at the noisiest levels alone (0025); both are part of it, and all others "
    "make them as they are described. Neither needs our selection of weights: how much of it is in how pictures are "
    "drawn is told by the rows of ours *drawn as by all others* and of Textual Inversion *drawn as by ours*.",
    "By ours at the token and by Textual Inversion nothing is forgotten and no generic prompt moves by construction: "
    "nothing that such a prompt meets is ever written. Their zeros say that this is so, and can be level with each "
    "other but not better.",
    "The encoder that tells individuals apart was trained on things and hardly sees a style (0026), so a method may "
    "lie ahead by it through a style alone. What holds of things is therefore told apart.",
    "Methods that are fused are judged after each fusing, so *right after* is what is left of a concept once it has "
    "been merged with those before it.",
)


def describe_caveats(results: Results, tuning: Results | None) -> str:
    """A list in Markdown: what was cut short, not run, run once, not tuned; how fine a measure is and where it ends;
    where times cannot be compared.
    """
    said = [
        *_length(results),
        *_missing(results),
        *_repetitions(results),
        *_grain(results),
        *_never(results),
        *_orders(results),
        *_beyond_real(results),
        *_tuned(results, tuning),
        *_fined(results, tuning),
        *_at_ends(results, tuning),
        *_crowded(results),
        *_uneven(results),
        *_machines(results),
    ]
    return "\n".join(f"- {sentence}" for sentence in (*said, *DIFFERENCES)) + "\n"


def rows_of(results: Results, stream: str) -> list[Mapping[str, Any]]:
    """The table's rows of one stream."""
    return [row for row in results["rows"] if row["stream"] == stream]


def _length(results: Results) -> list[str]:
    learned, whole = len(results["concepts"]), results["whole"]
    return [f"**The stream was cut after {learned} of its {whole} concepts.**"] if learned < whole else []


def _missing(results: Results) -> list[str]:
    return [f"Not run on this stream: {_listed(results['not_run'])}."] if results["not_run"] else []


def _repetitions(results: Results) -> list[str]:
    """Of those that learn: where nothing is learned, no seed decides anything."""
    rows = [row for row in rows_of(results, results["stream"]) if row["kind"] != "bound"]
    once = [row["title"] for row in rows if row["repetitions"] == 1]
    said = []
    if once:
        who = "Every method" if len(once) == len(rows) else _listed(once)
        said.append(
            f"**Run once: {who}.** How far another seed would lie away is not known of them, and a small difference to "
            "them means nothing."
        )
    if len(once) < len(rows):
        said.append(
            "Where there are several runs, mean and sample standard deviation are shown. Only the seed of learning "
            "differs between them: what is learned from and the noise of the pictures that are judged are the same, "
            "so that other concepts would lie further apart."
        )
    return said


def _grain(results: Results) -> list[str]:
    """How much a single picture of two concepts weighs where pictures are counted."""
    cell = next(cell for cell in results["cells"] if cell["stream"] == results["stream"])
    pairs = sum(len(one["names"]) == 2 for one in cell["stages"][-1]["compositions"])
    if not pairs:
        return []
    pictures = pairs * results["setup"]["asking"]["composition_seeds"]
    return [f"*Two together* counts {pictures} pictures a run: one more or less is {1 / pictures:.3f}."]


def _never(results: Results) -> list[str]:
    """What nobody manages tells nobody from another."""
    figures = [row["figures"].get("triple_present") for row in rows_of(results, results["stream"])]
    found = [figure["mean"] for figure in figures if figure is not None]
    if not found or any(found):
        return []
    return ["No method ever shows three concepts in one picture: *three together* is beyond this base or its judges."]


def _orders(results: Results) -> list[str]:
    others = [stream for stream in results["orders"] if stream != results["stream"]]
    if not others:
        return []
    return [
        f"Stream {_listed(others)} has the same concepts in another order, and a table of its own. What is learned "
        "alone does not depend on the order: by our method at the token, by Textual Inversion, and by fused methods "
        "up to their fusing the same is learned there with the same seed, so that their runs there are no further "
        "repetitions."
    ]


def _beyond_real(results: Results) -> list[str]:
    """Where a judge likes what was made more than what is real, it no longer says who is better."""
    said = []
    for judge in JUDGES:
        shares = {row["title"]: row["figures"].get(f"{judge}_final") for row in rows_of(results, results["stream"])}
        beyond = [title for title, share in shares.items() if share is not None and share["mean"] > 1]
        if beyond:
            said.append(
                f"**Above 1 by {judge}, at the end: {_listed(beyond)}.** Their pictures are more like the held-out "
                "ones than these are like each other, so that a further step up is no longer a step towards them."
            )
    return said


def _tuned(results: Results, tuning: Results | None) -> list[str]:
    """Who was run with options that a search found, who with the defaults, and whether all had as many trials."""
    used = {cell["method"]: cell for cell in results["cells"]}
    found = _searches(results, tuning)
    tuned = {name for name, cell in used.items() if _has_found(found.get(cell.get("tuned_as", name)), cell["options"])}
    untuned = [cell["title"] for name, cell in used.items() if name not in tuned and cell["options"]]
    said = []
    if untuned:
        who = "any method" if not tuned else _listed(untuned)
        said.append(f"**Not tuned: {who}.** What stands in the table is a method at its defaults, not at its best.")
    borrowed = {name: used[name]["tuned_as"] for name in tuned if used[name].get("tuned_as", name) != name}
    if borrowed:
        lent = [f"{used[name]['title']} as {found[whose]['title']}" for name, whose in sorted(borrowed.items())]
        said.append(f"Set as what they are held against, without a search of their own: {_listed(lent)}.")
    trials = {name: len(found[name]["trials"]) for name in sorted(tuned - borrowed.keys())}
    if len(set(trials.values())) > 1:
        counts = [
            f"{used[name]['title']} {count}{' (its whole grid)' if count >= _grid_size(found[name]) else ''}"
            for name, count in trials.items()
        ]
        said.append(f"Not all had as many trials: {_listed(counts)}.")
    return said


def _searches(results: Results, tuning: Results | None) -> Mapping[str, Any]:
    """What was found for each method, where it was on this base."""
    if tuning is None or not tuned_alike(tuning["setup"], results["setup"]):
        return {}
    methods: Mapping[str, Any] = tuning["methods"]
    return methods


def _grid_size(search: Mapping[str, Any]) -> int:
    return prod(len(values) for values in search["grid"].values())


def _at_ends(results: Results, tuning: Results | None) -> list[str]:
    """Whose best rate lies at an end of those that were tried: the next one might have been better still."""
    run = {cell["method"] for cell in results["cells"]}
    said = []
    for name, search in _searches(results, tuning).items():
        best = search["best"]["options"]
        ends = [
            f"`{option}` {best[option]:g} ({_end_of(values, best[option])} of {len(values)})"
            for option, values in search["grid"].items()
            if option in RATES and len(values) > 1 and best[option] in (min(values), max(values))
        ]
        if name in run and ends:
            said.append(f"{search['title']} {' and '.join(ends)}")
    if not said:
        return []
    return [f"Best at an end of what was tried, so that a rate beyond it may be better still: {'; '.join(said)}."]


def _fined(results: Results, tuning: Results | None) -> list[str]:
    """Who could not be kept from harming generic prompts by any of the settings that were tried."""
    run = {cell["method"] for cell in results["cells"]}
    best = {one["title"]: one["best"]["figures"] for name, one in _searches(results, tuning).items() if name in run}
    fined = [
        title
        for title, figures in best.items()
        if figures["clip_generic"] < GENERIC_GOAL or figures["generic_text_loss"] > TEXT_GOAL
    ]
    if not fined:
        return []
    return [f"Even as the best of what was tried, harms generic prompts beyond what tuning fines: {_listed(fined)}."]


def _end_of(values: Sequence[float], value: float) -> str:
    return "the smallest" if value == min(values) else "the largest"


def _crowded(results: Results) -> list[str]:
    """Orthogonal Adaptation draws its directions without knowing of earlier ones: how many it needs is said."""
    said = []
    for cell in {cell["method"]: cell for cell in results["cells"]}.values():
        if cell["method"] == "orthogonal-adaptation":
            rank, count, width = int(cell["options"]["rank"]), len(results["concepts"]), results["narrowest"]
            said.append(
                f"{cell['title']} draws {rank} directions of a layer's inputs for each concept, {rank * count} for all "
                f"{count}, without knowing which are taken. A layer has as many as its inputs are wide, the narrowest "
                f"{width}, so that there two concepts share {rank * rank / width:.1f} of them on average. Its rank was "
                "tuned on a shorter stream."
            )
    return said


def _uneven(results: Results) -> list[str]:
    """On whose machine something else ran while it learned."""
    uneven: dict[str, float] = {}
    for cell in results["cells"]:
        seconds = [stage["cost"]["seconds"] / max(1, len(stage["learned"])) for stage in cell["stages"]]
        if min(seconds) > 0 and max(seconds) > 2 * min(seconds):
            uneven[cell["title"]] = max(uneven.get(cell["title"], 0.0), max(seconds) / min(seconds))
    if not uneven:
        return []
    listed = _listed([f"{title} {times:.1f}" for title, times in uneven.items()])
    return [
        "Seconds are the middle one of the concepts'. The machine had other things to do in between, so that a "
        f"concept took several times as long as another by the same method: {listed}. "
        "Small differences between methods say nothing."
    ]


def _has_found(search: Any, options: Mapping[str, float]) -> bool:
    """Whether a method runs with the best that a search found, as far as it has these options."""
    if search is None:
        return False
    best: Mapping[str, float] = search["best"]["options"]
    return all(value == options[name] for name, value in best.items() if name in options)


def _machines(results: Results) -> list[str]:
    if len(results["machines"]) < 2:
        return []
    return [f"Cells come from {len(results['machines'])} kinds of machines: seconds and memory cannot be compared."]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
