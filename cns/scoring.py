"""Scores of a history: every concept at every version since it was learned."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import compose, extend
from cns.denoise import GenerationRequest
from cns.examination import ExaminationSettings, requests_about
from cns.history import VersionRecord
from cns.history_folder import HistoryFolder
from cns.judge import Judge
from cns.metrics import clip_i, clip_score
from cns.preprocessing import Pictures
from cns.series import Series, counted_on, make_series


def score_pictures(judge: Judge, pictures: Pictures, references: Tensor, texts: Sequence[str]) -> dict[str, float]:
    """clip_i: mean cosine with the references; clip_t: fit to the texts on the scale 100 x 2.5 x cos.

    references: (m, width) features of what was taught. texts: one for each picture, in words that the judge knows.
    """
    seen = judge.image_features(pictures)
    return {"clip_i": clip_i(seen, references), "clip_t": clip_score(seen, judge.text_features(texts))}


def score_history(
    folder: HistoryFolder,
    base: BaseModel,
    judge: Judge,
    *,
    version: int | None = None,
    settings: ExaminationSettings | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Scores along the line of versions from the base to `version` (None: head), for JSON.

    An entry is {version, concept, clip_i, clip_t}; version 0 is the concept's class noun on the untouched base. All are
    made with the same prompts and seeds, so that they can be compared.
    """
    settings = settings or ExaminationSettings()
    lineage = folder.history.lineage(folder.history.head if version is None else version)
    deltas = [folder.load_delta(learned) for learned in lineage]
    references = {learned.number: judge.image_features(folder.load_pictures(learned)) for learned in lineage}
    composed = compose(base)
    plan = [(0, lineage), *((learned.number, lineage[:place]) for place, learned in enumerate(lineage, start=1))]
    total = sum(_count_steps(_asked(number, learned, settings) for learned in known) for number, known in plan)
    scores: list[dict[str, Any]] = []
    done = 0
    for place, (number, known) in enumerate(plan):
        if place:
            composed = extend(base, composed, [deltas[place - 1]])
        # One version at a time: of what is seen of its pictures a few numbers are kept, and the pictures are dropped.
        series = [Series(composed, _asked(number, learned, settings)) for learned in known]
        report = None if on_step is None else counted_on(on_step, done, total)
        for learned, made in zip(known, make_series(base, series, on_step=report), strict=True):
            texts = [request.prompt for request in requests_about(learned.class_noun, settings)]
            measured = score_pictures(judge, made, references[learned.number], texts)
            scores.append({"version": number, "concept": learned.concept, **measured})
        done += _count_steps(one.requests for one in series)
    return scores


def _asked(number: int, learned: VersionRecord, settings: ExaminationSettings) -> tuple[GenerationRequest, ...]:
    """What is asked of version `number` about a concept: on the untouched base about any thing of its noun."""
    return requests_about(learned.class_noun, settings, f"<{learned.concept}>" if number else None)


def _count_steps(asked: Iterable[Sequence[GenerationRequest]]) -> int:
    """Of what is asked of one version, where nothing is made twice."""
    return sum(request.steps for request in {request for requests in asked for request in requests})
