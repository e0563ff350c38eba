"""What a captioner is worth to a style (docs/decisions/0026):

    python -m benchmarks.style_captions

Learns the styles of the streams by themselves: with captions that people wrote, with those of the captioner as of a
thing, "a photo of a drawing on the grass", and with those that it writes of a manner, "a drawing of a cat"; and
judges their pictures as `benchmarks.continual` does. Writes benchmarks/results/style-captions.json.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.continual.judging import Jury
from benchmarks.continual.laboratory import Laboratory, open_laboratory
from benchmarks.continual.method import Painter
from benchmarks.continual.results import write_results
from benchmarks.continual.streams import Stream, StreamConcept
from benchmarks.guidance import learn_alone, read_options
from benchmarks.machine import describe_machine, library_versions
from benchmarks.markdown import make_table
from cns.captions import Captioner, RetrievalCaptioner, with_token
from cns.compose import compose
from cns.own_settings import load_usual_settings
from cns.phrases import load_calibration_prompts
from cns.settings import LearningSettings
from cns.wording import find_frame

RESULTS = Path(__file__).resolve().parent / "results" / "style-captions.json"
ANY = "thing"


def caption_styles(concept: StreamConcept, captioner: Captioner) -> dict[str, tuple[str, ...]]:
    """Who wrote them -> captions of the concept's pictures, with its token."""
    lesson = concept.lesson
    noun, token = lesson.class_noun, f"<{lesson.name}>"
    as_thing = [said.replace(ANY, noun, 1) for said in captioner.caption(lesson.pictures, ANY)]
    as_manner = captioner.caption(lesson.pictures, noun)
    return {
        "people": tuple(lesson.captions),
        "captioner, as of a thing": tuple(with_token(said, noun, token) for said in as_thing),
        "captioner, as of a manner": tuple(with_token(said, noun, token) for said in as_manner),
    }


def measure_style(
    laboratory: Laboratory,
    stream: Stream,
    concept: StreamConcept,
    captioner: Captioner,
    settings: LearningSettings,
    calibration: Sequence[str],
) -> list[dict[str, Any]]:
    """A row for each writer: {concept, by, text, how far every judge finds its pictures to have come, captions}."""
    alone = replace(stream, concepts=(concept,), compositions=(), generic_prompts=stream.generic_prompts[:1])
    jury = Jury(laboratory.base, alone, laboratory.judges, laboratory.asking)
    rows = []
    for writer, captions in caption_styles(concept, captioner).items():
        taught = replace(concept, lesson=replace(concept.lesson, captions=captions))
        delta = learn_alone(laboratory.base, taught, settings, calibration)
        painter = Painter(laboratory.base, compose(laboratory.base, [delta]))
        figures: Mapping[str, Any] = jury.judge(painter, [concept.name])[0]["concepts"][concept.name]
        judged = {name: figures[name]["share"] for name in jury.judges.of_likeness}
        rows.append(
            {"concept": concept.name, "by": writer, **judged, "text": figures["text"], "captions": list(captions)}
        )
        sys.stderr.write(f"<{concept.name}>, {writer}: {', '.join(f'{k} {v:.3f}' for k, v in judged.items())}\n")
    return rows


def main() -> None:
    options = read_options(__doc__, RESULTS)
    laboratory = open_laboratory(options.base)
    captioner = RetrievalCaptioner.of_base(laboratory.judges.clip, options.base)
    settings = load_usual_settings(options.base).by_reach["token"]
    calibration = load_calibration_prompts(options.base)
    rows = []
    for name in options.streams.split(","):
        stream = laboratory.streams[name]
        for concept in stream.concepts:
            if find_frame(concept.class_noun) is not None:
                rows += measure_style(laboratory, stream, concept, captioner, settings, calibration)
    facts = {"machine": describe_machine(laboratory.base.device), "libraries": library_versions()}
    told = {"settings": settings.to_json(), "asking": asdict(laboratory.asking), "rows": rows, "bars": []}
    write_results(options.results, {"name": "style-captions", **facts, **told})
    heads = [head for head in rows[0] if head != "captions"]
    sys.stdout.write(make_table(heads, [tuple(row[head] for head in heads) for row in rows], words=2) + "\n")


if __name__ == "__main__":
    main()
