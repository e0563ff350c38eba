"""Scores of a history: every concept at every version since it was learned."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import compose, extend
from cns.examination import ExaminationSettings, requests_about
from cns.history import VersionRecord
from cns.history_folder import HistoryFolder
from cns.judge import Judge
from cns.metrics import clip_i, clip_score
from cns.preprocessing import Pictures
from cns.series import Series, make_series


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
    rows: list[tuple[int, VersionRecord, Series]] = []
    composed = compose(base)
    for learned in lineage:
        rows.append((0, learned, Series(composed, requests_about(learned.class_noun, settings))))
    for place, (reached, delta) in enumerate(zip(lineage, deltas, strict=True), start=1):
        composed = extend(base, composed, [delta])
        for learned in lineage[:place]:
            requests = requests_about(learned.class_noun, settings, f"<{learned.concept}>")
            rows.append((reached.number, learned, Series(composed, requests)))
    pictures = make_series(base, [series for _, _, series in rows], on_step=on_step)
    scores = []
    for (number, learned, _), made in zip(rows, pictures, strict=True):
        texts = [request.prompt for request in requests_about(learned.class_noun, settings)]
        measured = score_pictures(judge, made, references[learned.number], texts)
        scores.append({"version": number, "concept": learned.concept, **measured})
    return scores
