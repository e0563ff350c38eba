"""Cells in, the table's rows and the bars out. Numbers only; nothing is painted or written here."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

from benchmarks.bars import Bar

Cell = Mapping[str, Any]
JUDGES = ("clip", "individuals")
RIVALS = ("sequential", "fused")
"""Kinds of methods that learn concepts as they come, and so are compared with each other."""


@dataclass(frozen=True)
class Figure:
    """Mean over repetitions and their sample standard deviation; None where it was measured once.

    runs: how many it is of, as not every run has every figure.
    """

    mean: float
    spread: float | None
    runs: int

    def to_json(self) -> dict[str, float | None]:
        return {"mean": self.mean, "spread": self.spread, "runs": self.runs}


@dataclass(frozen=True)
class Row:
    """One method on one stream. figures: name -> value; a figure that the method cannot have is absent.

    by_seed: the same of each run alone.
    """

    method: str
    title: str
    kind: str
    family: str
    stream: str
    repetitions: int
    figures: Mapping[str, Figure]
    by_seed: Mapping[int, Mapping[str, float]]

    def mean(self, name: str) -> float | None:
        found = self.figures.get(name)
        return None if found is None else found.mean


def summarise(cells: Iterable[Cell], things: Collection[str] = ()) -> list[Row]:
    """One row for each method and stream, in the order in which they first come. things: see `measure_cell`."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell["stream"], cell["method"]), []).append(cell)
    rows = []
    for (stream, method), group in groups.items():
        measured = {cell["seed"]: measure_cell(cell, things) for cell in group}
        names = dict.fromkeys(name for one in measured.values() for name in one)
        figures = {name: _figure([one[name] for one in measured.values() if name in one]) for name in names}
        first = group[0]
        rows.append(Row(method, first["title"], first["kind"], first["family"], stream, len(group), figures, measured))
    return rows


def _figure(values: Sequence[float]) -> Figure:
    return Figure(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def measure_cell(cell: Cell, things: Collection[str] = ()) -> dict[str, float]:
    """Every figure of the table for one cell.

    things: names of the concepts that are neither styles nor places; of them alone is J_final_things, absent where
    there are no others.

    For each judge J: J_final, J_right_after (share of the way from the class noun to real pictures, mean over the
    concepts), J_final_similarity, J_right_after_similarity (the cosines themselves), J_forgetting (share of the cosines
    right after learning that is lost at the end, of all concepts that others came after), J_forgetting_way (the same of
    the shares, which is much stricter; absent where nothing had been learned), J_transfer (the difference of the
    shares, final less right after), J_confused (twins' pictures nearer to the other twin),
    J_generic (similarity of generic pictures to the base's).
    text_single, text_multi: CLIPScore with the prompt in class nouns; clip_i_single, clip_i_multi: 100 x CLIP-I.
    generic_text_loss: share of the base's fit of generic pictures to their text that is lost.
    pair_present, pair_share, triple_present, triple_share: see `Jury`. parameters, stored_bytes: mean of the concepts;
    seconds: the middle one, as a machine that had other things to do spoils a mean; peak_extra_bytes: the most that any
    of them took; fuse_seconds, fuse_bytes: of the last fusing, which is of all concepts.
    """
    last = cell["stages"][-1]
    figures: dict[str, float] = {}
    for judge in JUDGES:
        if all(judge in one for one in last["concepts"].values()):
            figures |= _likeness_figures(cell["stages"], judge, things)
    figures["text_single"] = fmean(one["clip_score"] for one in last["concepts"].values())
    figures["clip_i_single"] = 100 * fmean(one["clip"]["similarity"] for one in last["concepts"].values())
    figures["generic_text_loss"] = 1 - last["generic"]["text"] / last["generic"]["base_text"]
    for size, name in ((2, "pair"), (3, "triple")):
        of_size = [one for one in last["compositions"] if len(one["names"]) == size]
        if of_size:
            figures |= {f"{name}_{key}": fmean(one[key] for one in of_size) for key in ("present", "share")}
            if size == 2:
                figures["clip_i_multi"] = 100 * fmean(one["clip_i"] for one in of_size)
                figures["text_multi"] = fmean(one["clip_score"] for one in of_size)
    return figures | _cost_figures(cell["stages"])


def _likeness_figures(stages: Sequence[Mapping[str, Any]], judge: str, things: Collection[str]) -> dict[str, float]:
    last = stages[-1]["concepts"]
    figures = {
        f"{judge}_final": fmean(one[judge]["share"] for one in last.values()),
        f"{judge}_final_similarity": fmean(one[judge]["similarity"] for one in last.values()),
        f"{judge}_generic": stages[-1]["generic"][f"{judge}_similarity"],
    }
    of_things = [one[judge]["share"] for name, one in last.items() if name in things]
    if of_things and len(of_things) < len(last):
        figures[f"{judge}_final_things"] = fmean(of_things)
    twins = [one[judge]["confused"] for one in last.values() if "confused" in one[judge]]
    if twins:
        figures[f"{judge}_confused"] = fmean(twins)
    right_after = {
        stage["learned"][0]: stage["concepts"][stage["learned"][0]][judge]
        for stage in stages
        if len(stage["learned"]) == 1 and "concepts" in stage
    }
    if right_after.keys() == last.keys():
        figures[f"{judge}_right_after"] = fmean(one["share"] for one in right_after.values())
        figures[f"{judge}_right_after_similarity"] = fmean(one["similarity"] for one in right_after.values())
        earlier = [name for name in right_after if name != stages[-1]["learned"][0]]
        if earlier:
            now = {name: last[name][judge] for name in earlier}
            # Of the sums, not concept by concept: one that was hardly learned would decide the mean of the quotients.
            kept = sum(now[name]["similarity"] for name in earlier)
            figures[f"{judge}_forgetting"] = 1 - kept / sum(right_after[name]["similarity"] for name in earlier)
            learned = sum(right_after[name]["share"] for name in earlier)
            if learned > 0:
                figures[f"{judge}_forgetting_way"] = 1 - sum(now[name]["share"] for name in earlier) / learned
            figures[f"{judge}_transfer"] = fmean(now[name]["share"] - right_after[name]["share"] for name in earlier)
    return figures


def _cost_figures(stages: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What a concept cost; a joint method's whole is shared out among them. Memory is the most that any took, since
    that much must be there.
    """
    concepts = sum(len(stage["learned"]) for stage in stages)
    names = {"trained_parameters": "parameters"}
    figures = {
        names.get(name, name): sum(stage["cost"][name] for stage in stages) / concepts for name in stages[0]["cost"]
    }
    figures["seconds"] = median(stage["cost"]["seconds"] / len(stage["learned"]) for stage in stages)
    figures |= {name: float(stages[-1]["cost"][name]) for name in ("fuse_seconds", "fuse_bytes")}
    peaks = [stage["peak_extra_bytes"] for stage in stages if stage["peak_extra_bytes"] is not None]
    return figures | ({"peak_extra_bytes": float(max(peaks))} if peaks else {})


COMPARED = {
    **{f"image alignment at the end, better than every other's, {judge}": f"{judge}_final" for judge in JUDGES},
    **{f"the same of things, without styles and places, {judge}": f"{judge}_final_things" for judge in JUDGES},
    **{f"forgetting, less than every other's, {judge}": f"{judge}_forgetting" for judge in JUDGES},
    "generic prompts, more like the base's than every other's": "clip_generic",
    "two concepts in a picture, more often than every other's": "pair_present",
    "two concepts in a picture, nearer to both than every other's": "pair_share",
}
"""Bars that compare with the best rival -> the figure that they compare."""

# --- bars -----------------------------------------------------------------------------------------------------------


def check_bars(rows: Sequence[Row], default: str, stream: str) -> list[Bar]:
    """The numbers that the issue asks of the default on a stream; none where the default was not run.

    Image alignment can be read as the cosine (CLIP-I as papers print it) and as the share of the way from the class
    noun to real pictures. A cosine is high before anything was learned, so a percentage of it is soon reached; both
    readings have their bar; so have composition's, since a base that can hardly draw two things shows both of nobody's.
    Compared with rivals, our other methods among them, is the difference to the best, whose
    goal is 0: more is better for all but forgetting, where less is.
    """
    on_stream = {row.method: row for row in rows if row.stream == stream}
    if default not in on_stream:
        return []
    ours = on_stream[default]
    rivals = [row for row in on_stream.values() if row.kind in RIVALS and row.method != default]
    bars: list[Bar] = []

    def limit(name: str, figure: str, goal: float, most: bool) -> None:
        value = ours.mean(figure)
        if value is not None:
            bars.append(Bar(name, value, goal, value <= goal if most else value >= goal))

    def compare(name: str) -> None:
        figure = COMPARED[name]
        less_is_better = figure.endswith("_forgetting")
        known = [row for row in rivals if row.mean(figure) is not None]
        value = ours.mean(figure)
        if value is not None and known:
            best = (min if less_is_better else max)(known, key=lambda row: row.mean(figure) or 0.0)
            difference = value - (best.mean(figure) or 0.0)
            bars.append(Bar(name, difference, 0.0, difference <= 0 if less_is_better else difference > 0, best.method))

    for judge in JUDGES:
        limit(f"forgetting, of the cosine, {judge}", f"{judge}_forgetting", 0.01, most=True)
        limit(f"forgetting, of the way, {judge}", f"{judge}_forgetting_way", 0.01, most=True)
    limit("generic prompts, loss of text alignment", "generic_text_loss", 0.01, most=True)
    limit("generic prompts, CLIP similarity to the base's pictures", "clip_generic", 0.95, most=False)
    custom = on_stream.get("custom")
    for judge in JUDGES:
        for reading, figure in (("cosine", f"{judge}_right_after_similarity"), ("way", f"{judge}_right_after")):
            own, other = ours.mean(figure), custom.mean(figure) if custom else None
            if own is not None and other is not None and other > 0:
                name = f"right after learning, share of Custom Diffusion's {reading}, {judge}"
                bars.append(Bar(name, own / other, 0.95, own / other >= 0.95))
    for name in COMPARED:
        compare(name)
    return bars


def differences_by_seed(bars: Sequence[Bar], rows: Sequence[Row], default: str, stream: str) -> dict[str, list[float]]:
    """Of each bar that compares: the same difference with every seed alone that both were run with, in their order."""
    on_stream = {row.method: row for row in rows if row.stream == stream}
    found = {}
    for bar in bars:
        if bar.against is not None:
            figure, ours, theirs = COMPARED[bar.name], on_stream[default].by_seed, on_stream[bar.against].by_seed
            both = [seed for seed in ours if figure in ours[seed] and figure in theirs.get(seed, {})]
            found[bar.name] = [ours[seed][figure] - theirs[seed][figure] for seed in sorted(both)]
    return found
