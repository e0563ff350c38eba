"""Which concepts are of the whole picture, and for how long their pictures are best guided (docs/decisions/0025):

    python -m benchmarks.guidance

Learns every concept of the streams by itself, at its token, and measures its pull (`cns.pull`). Those that pull hard,
and for comparison the first of each stream, are drawn with guidance in fewer and fewer of the noise levels, and judged
as `benchmarks.continual` judges them. Writes benchmarks/results/guidance.json.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.continual.judging import Jury
from benchmarks.continual.laboratory import Laboratory, open_laboratory
from benchmarks.continual.method import Painter
from benchmarks.continual.results import write_results
from benchmarks.continual.streams import Stream, StreamConcept, without_lost_twins
from benchmarks.learning import learn_whole
from benchmarks.machine import describe_machine, library_versions
from benchmarks.markdown import make_table
from cns.base_model import BaseModel
from cns.compose import compose
from cns.delta import Delta
from cns.learning import Concept
from cns.own_settings import load_usual_settings
from cns.phrases import load_calibration_prompts
from cns.pull import WIDE_PULL
from cns.settings import LearningSettings
from storybook import MODEL_FOLDER

RESULTS = Path(__file__).resolve().parent / "results" / "guidance.json"
SHARES = (1.0, 0.4, 0.24, 0.16, 0.12, 0.08, 0.04)


def learn_alone(
    base: BaseModel, concept: StreamConcept, settings: LearningSettings, calibration: Sequence[str]
) -> Delta:
    """The concept on the bare base."""
    lesson = concept.lesson
    taught = Concept(lesson.name, lesson.class_noun, lesson.pictures, lesson.captions)
    return learn_whole(base, compose(base), taught, settings, calibration)


def choose_drawn(stream: Stream, pulls: Mapping[str, float], limit: float = WIDE_PULL) -> Stream:
    """Those that pull hard and the stream's first, by themselves and without all that is not about one concept."""
    first = stream.concepts[0].name
    kept = [one for one in stream.concepts if one.name == first or pulls[one.name] >= limit]
    prompts = stream.generic_prompts[:1]  # of pictures without a concept, which are the same in any case
    return replace(stream, concepts=without_lost_twins(kept), compositions=(), generic_prompts=prompts)


def judge_shares(
    base: BaseModel, jury: Jury, deltas: Mapping[str, Delta], shares: Sequence[float] = SHARES
) -> list[dict[str, Any]]:
    """A row for each concept of the jury's stream and each share of the noise levels that is guided.

    {concept, guided, text, and of every judge how far its pictures have come}.
    """
    rows = []
    for concept in jury.stream.concepts:
        for share in shares:
            version = compose(base, [replace(deltas[concept.name], guided=share)])
            figures = jury.judge(Painter(base, version), [concept.name])[0]["concepts"][concept.name]
            judged = {name: figures[name]["share"] for name in jury.judges.of_likeness}
            rows.append({"concept": concept.name, "guided": share, **judged, "text": figures["text"]})
            tell(f"<{concept.name}>, guided {share:g}: " + ", ".join(f"{k} {v:.3f}" for k, v in judged.items()))
    return rows


def measure_stream(
    laboratory: Laboratory, stream: Stream, settings: LearningSettings, calibration: Sequence[str]
) -> dict[str, Any]:
    """{pulls: concept -> its pull, rows: see `judge_shares`}."""
    deltas, pulls = {}, {}
    for concept in stream.concepts:
        deltas[concept.name] = delta = learn_alone(laboratory.base, concept, settings, calibration)
        pulls[concept.name] = delta.report["pull"]
        tell(f"<{concept.name}> {concept.class_noun}: pull {pulls[concept.name]:.3g}")
    jury = Jury(laboratory.base, choose_drawn(stream, pulls), laboratory.judges, laboratory.asking)
    return {"pulls": pulls, "rows": judge_shares(laboratory.base, jury, deltas)}


def read_options(told: str | None, results: Path) -> argparse.Namespace:
    """What a program over streams of concepts is asked for: base, streams, results; the threads are set at once."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--streams", default="validation,one")
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")
    parser.add_argument("--results", type=Path, default=results)
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return options


def main() -> None:
    options = read_options(__doc__, RESULTS)
    laboratory = open_laboratory(options.base)
    usual = load_usual_settings(options.base).by_reach["token"]
    settings = usual if usual.wide_guided < 1 else replace(usual, wide_guided=0.5)  # at 1 no pull is measured
    calibration = load_calibration_prompts(options.base)
    found = {
        name: measure_stream(laboratory, laboratory.streams[name], settings, calibration)
        for name in options.streams.split(",")
    }
    facts = {"machine": describe_machine(laboratory.base.device), "libraries": library_versions()}
    told = {"settings": settings.to_json(), "asking": asdict(laboratory.asking), "streams": found, "bars": []}
    write_results(options.results, {"name": "guidance", **facts, **told})
    for name, one in found.items():
        sys.stdout.write(f"{name}\n\n{make_table(('concept', 'pull'), list(one['pulls'].items()))}\n")
        heads = list(one["rows"][0])
        sys.stdout.write(make_table(heads, [tuple(row.values()) for row in one["rows"]]) + "\n")


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
