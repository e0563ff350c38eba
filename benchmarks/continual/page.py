"""The benchmark's page in the docs, written from its results and its cells' pictures alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bars import bar_table
from benchmarks.continual.caveats import describe_caveats, rows_of
from benchmarks.continual.figures import best_judge, draw_charts
from benchmarks.continual.settings_page import describe_settings, describe_sweep
from benchmarks.continual.summary import RIVALS
from benchmarks.markdown import make_table
from cns.history_folder import write_atomically

Results = Mapping[str, Any]
KINDS = {
    "sequential": "one on top of the other",
    "fused": "one by one, then merged",
    "joint": "all at once",
    "bound": "nothing learned",
}

TRIED = (
    "What was tried to get further, and what each step gained: our guards "
    "([0010](decisions/0010-drift-and-interference.md)), the token first ([0018](decisions/0018-token-first.md)), "
    "trials ([0022](decisions/0022-settings-by-trials.md)), values at the token alone "
    "([0023](decisions/0023-values-at-the-token.md)), each concept in its own place of a picture "
    "([0024](decisions/0024-each-in-its-own-place.md)), and guidance of styles and places while there is much noise "
    "([0025](decisions/0025-guided-while-there-is-much-noise.md)), with what was left again beside them."
)


def write_page(path: Path, results: Results, tuning: Results | None = None, sweep: Results | None = None) -> None:
    """Write the page, and its figures into the folder of the same name beside it.

    tuning, sweep: what the commands of these names wrote; left out where they are of another base.
    """
    folder = path.with_suffix("")
    charts = draw_charts(results)
    for name, chart in charts.items():
        write_atomically(folder / f"{name}.svg", chart.encode())
    rows = {"taught": "what was taught"} | {row["method"]: row["title"] for row in rows_of(results, results["stream"])}
    strips = {
        title: strip_file(Path(folder.name), results["stream"], method)
        for method, title in rows.items()
        if strip_file(path, results["stream"], method).is_file()
    }
    write_atomically(path, describe(results, tuning, sweep, list(charts), strips, folder.name).encode())


def strip_file(page: Path, stream: str, method: str) -> Path:
    """Where a method's pictures of a stream's end lie: in the folder of the page's name, written with its cell."""
    return page.with_suffix("") / f"{stream}-{method}.png"


def describe(
    results: Results,
    tuning: Results | None,
    sweep: Results | None,
    charts: Sequence[str],
    strips: Mapping[str, Path],
    folder: str,
) -> str:
    """The page's Markdown. charts: names of the SVG files in its `folder`. strips: title -> its pictures, likewise."""
    parts = [
        "# Concept after concept, by every method\n",
        f"Written by `python -m benchmarks.continual page` from `benchmarks/results/{results['name']}.json` and the "
        f"cells under `benchmarks/results/{results['name']}/`; not to be edited.\n",
        _describe_setup(results),
        "## How to read it\n",
        describe_caveats(results, tuning),
        "## What the default has to reach\n",
        describe_bars(results),
    ]
    for stream in dict.fromkeys(row["stream"] for row in results["rows"]):
        parts += [f"## The table, stream {stream}\n", _describe_stream(results, stream)]
    if charts:
        parts += ["## Curves\n", _describe_spread(results), *(f"![{name}]({folder}/{name}.svg)\n" for name in charts)]
    if strips:
        parts += ["## Pictures\n", _describe_pictures(results, strips)]
    parts += ["## Settings\n", describe_settings(results, tuning)]
    if sweep is not None and sweep["setup"]["base_id"] == results["setup"]["base_id"]:
        parts += ["## What each setting of ours does\n", describe_sweep(sweep)]
    return "\n".join(parts)


def _describe_setup(results: Results) -> str:
    budget, concepts = results["setup"]["budget"], results["concepts"]
    names = ", ".join(f"{one['name']} ({one['noun']})" for one in concepts)
    twins = [f"{one['name']} and {one['twin']}" for one in concepts if one["twin"] and one["name"] < one["twin"]]
    alike = f" Alike on purpose: {'; '.join(twins)}." if twins else ""
    libraries = " or ".join(
        ", ".join(f"{name} {release}" for name, release in one.items()) for one in results["libraries"]
    )
    return (
        f"{len(concepts)} concepts, learned in this order: {names}.{alike} Every method is given the same pictures "
        f"and captions and {budget['steps']} steps of {budget['batch']} for each concept; joint methods have that "
        "times the number of concepts. They are judged by other pictures than those learned from.\n\n"
        f"Base `{results['setup']['base_id'][:12]}`; {' or '.join(map(describe_device, results['machines']))}; "
        f"{libraries}.\n"
    )


def describe_device(machine: Mapping[str, Any]) -> str:
    """A machine in a few words."""
    cores = f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads of torch"
    return str(machine.get("gpu", cores))


def _describe_pictures(results: Results, strips: Mapping[str, Path]) -> str:
    """One strip a row, as they lie beside the page."""
    headings = "; ".join(f"{number}. {heading}" for number, heading in enumerate(results["headings"], start=1))
    shown = make_table(("method", ""), [(title, f"![{title}]({file.as_posix()})") for title, file in strips.items()], 2)
    return f"After the whole stream, from left to right: {headings}.\n\n{shown}\n"


def describe_bars(results: Results) -> str:
    """The table of bars, whom it compares with, and by how much what is missed is missed."""
    if not results["bars"]:
        return "The default was not among the methods that were run.\n"
    missed = [bar for bar in results["bars"] if not bar["holds"]]
    said = [_describe_miss(bar, results) for bar in missed] or ["Every one holds."]
    rivals = [row for row in rows_of(results, results["stream"]) if row["kind"] in RIVALS]
    titles = "; ".join(row["title"] for row in rivals if row["method"] != results["default"])
    others = f"*Every other* are those that take concepts one by one and were run on this stream: {titles or 'nobody'}."
    parts = [bar_table(results["bars"]), others, _by_seed(results), "\n".join(said), *([TRIED] if missed else [])]
    return "\n\n".join(parts) + "\n"


def _by_seed(results: Results) -> str:
    """What is compared, run by run: whether the lead is there with every seed."""
    lines = [
        f"- {_capital(name)}: {', '.join(f'{difference:+.4f}' for difference in found)}"
        + ("." if not min(found) < 0 < max(found) else "; not the same side with every seed, so nothing is decided.")
        for name, found in results["by_seed"].items()
        if len(found) > 1
    ]
    alone = [name for name, found in results["by_seed"].items() if len(found) < 2]
    told = ["The same differences with each seed that both were run with:\n", *lines] if lines else []
    few = f"{'With' if not lines else 'All others with'} one seed alone: {len(alone)} of the comparisons."
    return "\n".join([*told, *(["", few] if alone and lines else [few] if alone else [])])


def _describe_miss(bar: Mapping[str, Any], results: Results) -> str:
    if bar["against"] is None:
        return f"- {_capital(bar['name'])}: missed by {abs(bar['value'] - bar['goal']):.4f}."
    title = next(row["title"] for row in results["rows"] if row["method"] == bar["against"])
    ahead = f"is ahead by {abs(bar['value']):.4f}" if bar["value"] else "is level"
    return f"- {_capital(bar['name'])}: {title} {ahead}."


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


COLUMNS_LIKE_THE_PAPER = (
    ("CLIP-I single", "clip_i_single", 1.0, 2),
    ("CLIP-T single", "text_single", 1.0, 2),
    ("CLIP-I multi", "clip_i_multi", 1.0, 2),
    ("CLIP-T multi", "text_multi", 1.0, 2),
    ("to fuse, MB", "fuse_bytes", 1e-6, 1),
    ("to fuse, s", "fuse_seconds", 1.0, 1),
)
COLUMNS_COST = (
    ("trained", "parameters", 1.0, 0),
    ("kept, kB", "stored_bytes", 1e-3, 0),
    ("to learn, s", "seconds", 1.0, 0),
    ("memory to learn, MB", "peak_extra_bytes", 1e-6, 0),
)


def _describe_spread(results: Results) -> str:
    if all(row["repetitions"] == 1 for row in rows_of(results, results["stream"])):
        return ""
    return (
        "Of repeated methods a line is the mean, its band goes from the lowest run to the highest; the line at the end "
        "of a bar is the standard deviation.\n"
    )


def _describe_stream(results: Results, stream: str) -> str:
    rows, judge = rows_of(results, stream), best_judge(results)
    columns = (
        ("right after", f"{judge}_right_after", 1.0, 3),
        ("at the end", f"{judge}_final", 1.0, 3),
        ("the same, CLIP", "clip_final", 1.0, 3),
        ("things at the end", f"{judge}_final_things", 1.0, 3),
        ("things, CLIP", "clip_final_things", 1.0, 3),
        ("forgotten", f"{judge}_forgetting", 1.0, 3),
        ("forgotten, CLIP", "clip_forgetting", 1.0, 3),
        ("forgotten of the way", f"{judge}_forgetting_way", 1.0, 3),
        ("backward transfer", f"{judge}_transfer", 1.0, 3),
        ("generic like the base's", "clip_generic", 1.0, 3),
        ("generic text lost", "generic_text_loss", 1.0, 3),
        ("twins confused", f"{judge}_confused", 1.0, 3),
        ("two together", "pair_present", 1.0, 3),
        ("two, how near", "pair_share", 1.0, 3),
        ("three together", "triple_present", 1.0, 3),
    )
    most = max(row["repetitions"] for row in rows)
    repeated = " Mean and sample standard deviation where a method was repeated." if most > 1 else ""
    other = f"In this order: {', '.join(results['orders'][stream])}. " if stream != results["stream"] else ""
    return "\n".join(
        [
            f"{other}As the paper prints it: 100 x CLIP-I, and CLIPScore for the text (250 x the cosine). *Multi* is "
            "of the whole picture with each of its concepts, so a picture that one of them fills is high too. Fusing "
            f"is the last one, of all concepts.{repeated}\n",
            _table(rows, COLUMNS_LIKE_THE_PAPER),
            f"Image alignment is the share of the way from the class noun's pictures on the untouched base (0) to real "
            f"held-out ones (1), seen by {_JUDGES[judge]}; *things* leaves out styles and places; "
            "*forgotten* is the share of the similarity right after learning that is lost at the end, *of the way* "
            "the same of that share. *Two together*: pictures in which each part is nearest to its own concept and "
            "half of the way to it, whichever stands left; *two, how near* is the mean of that way, each part taken "
            "for the concept that it suits best, so that the base alone is a little above 0.\n",
            _table(rows, columns),
            "What a concept costs, where all are learned at once a tenth of the whole for ten of them:\n"
            if any(row["kind"] == "joint" for row in rows)
            else "What a concept costs:\n",
            _table(rows, COLUMNS_COST),
        ]
    )


_JUDGES = {"individuals": "the encoder that tells individuals apart", "clip": "CLIP"}


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str, float, int]]) -> str:
    """One line a method. columns: heading, figure, factor, decimals; a column that nobody has is left out."""
    shown = [column for column in columns if any(column[1] in row["figures"] for row in rows)]
    lines = [
        (
            row["title"],
            KINDS[row["kind"]],
            row["repetitions"],
            *(_cell(row["figures"].get(figure), row, factor, decimals) for _, figure, factor, decimals in shown),
        )
        for row in rows
    ]
    return make_table(("method", "learned", "runs", *(heading for heading, *_ in shown)), lines, words=2) + "\n"


def _cell(figure: Mapping[str, Any] | None, row: Mapping[str, Any], factor: float, decimals: int) -> str:
    """The mean, what its runs spread where they do, and how many they are where some of the row's lack it."""
    if figure is None:
        return ""
    mean = f"{figure['mean'] * factor:,.{decimals}f}"
    few = f" ({figure['runs']} runs)" if figure["runs"] < row["repetitions"] else ""
    return (f"{mean} ± {figure['spread'] * factor:,.{decimals}f}" if figure["spread"] else mean) + few
