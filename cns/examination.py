"""The examination after each learning: is the concept there, and is everything else still as it was?

A few pictures with fixed prompts and seeds are made under the untouched base, the version before and the version after,
and judged by encoders that learning never touches. The outcome is plain data, to be stored with the version.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle

from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.denoise import GenerationRequest
from cns.diagnosis import (
    Thresholds,
    find_bleeding,
    find_forgetting,
    find_underfitting,
    find_zero_shot_damage,
)
from cns.examination_record import (
    ConceptScores,
    Examination,
    ExaminationError,
    ExaminationSettings,
    ZeroShotScores,
)
from cns.judge import ImageEncoder, Judge
from cns.metrics import clip_i, clip_score, clip_t, drift, self_similarity
from cns.phrases import load_generic_prompts
from cns.preprocessing import Pictures
from cns.remedies import LearnedWith
from cns.series import MadePictures, Series, make_series
from cns.settings import LearningSettings, UnknownSetting, change_settings
from cns.wording import SUBJECT, find_frame, speak

__all__ = [
    "ConceptScores",
    "Examination",
    "ExaminationError",
    "ExaminationSettings",
    "StudiedConcept",
    "ZeroShotScores",
    "examine",
    "requests_about",
]

SUBJECTS = (SUBJECT, "a cat", "a car")
"""On which a manner is seen, one in each template."""
GENERIC_SEEDS = 500  # from here on, so that no generic picture starts from a concept's noise


@dataclass(frozen=True)
class StudiedConcept:
    """A concept to be examined. references: the pictures it was taught with.

    right_after: its scores when it had just been learned, from the examination of that version; None when there are
    none. Scores that cannot be compared with today's are not used.
    """

    name: str
    class_noun: str
    references: Pictures
    right_after: ConceptScores | None = None

    @property
    def token(self) -> str:
        """How prompts name it: "<rex>"."""
        return f"<{self.name}>"


def examine(
    base: BaseModel,
    judge: Judge,
    before: Version,
    after: Version,
    concept: StudiedConcept,
    earlier: Sequence[StudiedConcept] = (),
    *,
    generic_prompts: Sequence[str] | None = None,
    settings: ExaminationSettings | None = None,
    likeness: ImageEncoder | None = None,
    thresholds: Thresholds | None = None,
    usual: LearningSettings | None = None,
    batch: int = 16,
    made: MadePictures | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Examination:
    """Examine what learning `concept` did, from `before` to `after`.

    earlier: every concept of `before` that is to be looked after. judge: fit to texts, and drift of generic pictures.
    likeness: who says how like its references a concept is; None for the judge, which knows what captions can say. An
    encoder trained to tell individuals apart sees more of a thing; of a manner, which is seen on things that are not
    alike, the judge is asked in any case.
    generic_prompts: prompts that name no concept; None for those shipped here.
    thresholds, usual: what the base brings: from where on something is found, and what settings remedies go back to.
    made: pictures from earlier examinations, by `cns.series.picture_key`; those made now are added.
    on_step(done, total) counts denoising steps. Raises ExaminationError for a concept that a version does not have.
    """
    settings = settings or ExaminationSettings()
    who_sees = {one.name: _who_sees(one, judge, likeness) for one in (concept, *earlier)}
    generic = tuple(load_generic_prompts() if generic_prompts is None else generic_prompts)[: settings.generic_pictures]
    _check(before, after, concept, earlier, generic)
    comparable = {one.name: _comparable(base, judge, who_sees[one.name], one, settings) for one in (concept, *earlier)}
    known = {
        one.name: one.right_after
        for one in earlier
        if one.right_after is not None and one.right_after.comparable_with == comparable[one.name]
    }

    plan = _plan(base, before, after, concept, earlier, known, generic, settings)
    pictures = dict(zip(plan, make_series(base, list(plan.values()), batch=batch, made=made, on_step=on_step)))
    seen = {key: who_sees[key[1]].image_features(series) for key, series in pictures.items() if key[0] != "generic"}
    references = {one.name: who_sees[one.name].image_features(one.references) for one in (concept, *earlier)}

    scores: dict[str, ConceptScores] = {}
    for one in (concept, *earlier):
        name, then = one.name, known.get(one.name)
        texts = _texts(judge, one.class_noun, settings)
        fit = judge.image_features(pictures["now", name])
        scores[name] = ConceptScores(
            clip_i=clip_i(seen["now", name], references[name]),
            clip_t=clip_t(fit, texts),
            clip_score=clip_score(fit, texts),
            noun_clip_i=then.noun_clip_i if then else clip_i(seen["noun", name], references[name]),
            noun_clip_t=then.noun_clip_t if then else clip_t(judge.image_features(pictures["noun", name]), texts),
            reference_similarity=then.reference_similarity if then else self_similarity(references[name]),
            comparable_with=comparable[name],
        )
    zero_shot = _score_generic(judge, pictures["generic", "base"], pictures["generic", "now"], generic)

    limits, newcomer = thresholds or Thresholds(), scores[concept.name]
    learned = _learned_with(concept, after, usual)
    findings = [
        find_underfitting(
            concept.name,
            concept.class_noun,
            newcomer.share,
            newcomer.scale.width,
            alike=newcomer.reference_similarity,
            learned=learned,
            pictures=len(concept.references),
            limits=limits,
        ),
        find_zero_shot_damage(
            zero_shot.similarity_to_base, zero_shot.clip_t, zero_shot.base_clip_t, learned=learned, limits=limits
        ),
    ]
    for one in earlier:
        own, then = scores[one.name], known.get(one.name)
        keys, who = (("before", one.name), ("now", one.name)), who_sees[concept.name]
        as_newcomer = [seen[key] if who is who_sees[one.name] else who.image_features(pictures[key]) for key in keys]
        towards = [newcomer.scale.share(clip_i(features, references[concept.name])) for features in as_newcomer]
        moved = towards[1] - towards[0]
        lost = own.scale.share(clip_i(seen["before", one.name], references[one.name])) - own.share
        findings.append(find_bleeding(one.name, concept.name, moved, lost, learned=learned, limits=limits))
        if then is not None:
            findings.append(find_forgetting(one.name, own.share, then.share, learned=learned, limits=limits))
    return Examination(concept.name, scores, zero_shot, tuple(findings), settings)


# --- which pictures -------------------------------------------------------------------------------------------------


def _plan(
    base: BaseModel,
    before: Version,
    after: Version,
    concept: StudiedConcept,
    earlier: Sequence[StudiedConcept],
    known: Collection[str],
    generic: Sequence[str],
    settings: ExaminationSettings,
) -> dict[tuple[str, str], Series]:
    """(what, of whom) -> the pictures to make. known: concepts whose class noun was measured at an earlier time."""
    untouched = compose(base)
    about_nothing = tuple(_request(prompt, GENERIC_SEEDS + place, settings) for place, prompt in enumerate(generic))
    plan = {
        ("generic", "base"): Series(untouched, about_nothing),
        ("generic", "now"): Series(after, about_nothing),
    }
    for one in (concept, *earlier):
        about_it = requests_about(one.class_noun, settings, one.token)
        plan["now", one.name] = Series(after, about_it)
        if one is not concept:
            plan["before", one.name] = Series(before, about_it)
        if one.name not in known:
            plan["noun", one.name] = Series(untouched, requests_about(one.class_noun, settings))
    return plan


def requests_about(
    class_noun: str, settings: ExaminationSettings, token: str | None = None
) -> tuple[GenerationRequest, ...]:
    """`pictures_per_prompt` of each template, each with a seed of its own that does not depend on the concept.

    token: "<rex>"; None for any thing of the class noun. A manner is seen on another subject in each template.
    """
    words = class_noun if token is None else f"{token} {class_noun}"
    prompts = [
        speak(template, words, class_noun, subject)
        for template, subject in zip(settings.templates, cycle(SUBJECTS), strict=False)
        for _ in range(settings.pictures_per_prompt)
    ]
    return tuple(_request(prompt, place, settings) for place, prompt in enumerate(prompts))


def _request(prompt: str, place: int, settings: ExaminationSettings) -> GenerationRequest:
    return GenerationRequest(
        prompt,
        seed=settings.seed + place,
        steps=settings.steps,
        guidance=settings.guidance,
        sampler=settings.sampler,
        width_px=settings.width_px,
        height_px=settings.height_px,
    )


def _check(
    before: Version,
    after: Version,
    concept: StudiedConcept,
    earlier: Sequence[StudiedConcept],
    generic: Sequence[str],
) -> None:
    if not generic:
        raise ExaminationError("An examination needs at least one prompt that has to do with no concept.")
    if concept.token not in after.tokens:
        raise ExaminationError(f"The version after learning does not know {concept.token}.")
    for one in earlier:
        if one.token not in before.tokens or one.token not in after.tokens:
            raise ExaminationError(f"{one.token} is no concept of both versions, so it cannot be looked after.")


# --- what they are worth --------------------------------------------------------------------------------------------


def _who_sees(concept: StudiedConcept, judge: Judge, likeness: ImageEncoder | None) -> ImageEncoder:
    """Who says how like its references a concept is."""
    return judge if likeness is None or find_frame(concept.class_noun) is not None else likeness


def _texts(judge: Judge, class_noun: str, settings: ExaminationSettings) -> Tensor:
    """(n, width): what the pictures of a concept are to show, in words that the judge knows."""
    return judge.text_features([request.prompt for request in requests_about(class_noun, settings)])


def _score_generic(judge: Judge, base_pictures: Tensor, pictures: Tensor, prompts: Sequence[str]) -> ZeroShotScores:
    texts = judge.text_features(prompts)
    as_before, now = judge.image_features(base_pictures), judge.image_features(pictures)
    return ZeroShotScores(
        clip_t=clip_t(now, texts),
        clip_score=clip_score(now, texts),
        base_clip_t=clip_t(as_before, texts),
        similarity_to_base=drift(as_before, now),
    )


def _learned_with(concept: StudiedConcept, after: Version, usual: LearningSettings | None) -> LearnedWith | None:
    """With what the concept was learned, as its delta says; None for a delta of settings that exist no more."""
    settings = next((delta.settings for delta in after.deltas if delta.concept == concept.name), {})
    try:
        used = change_settings(LearningSettings(), settings)
    except UnknownSetting:
        return None
    return LearnedWith(used, usual or LearningSettings())


def _comparable(
    base: BaseModel, judge: Judge, likeness: ImageEncoder, concept: StudiedConcept, settings: ExaminationSettings
) -> str:
    """SHA-256 (64 hex digits) of what must be equal for two scores of a concept to be compared."""
    about_concepts = {**asdict(settings), "generic_pictures": None}
    facts = [base.id, judge.id, likeness.id, concept.name, concept.class_noun, about_concepts]
    if find_frame(concept.class_noun) is not None:
        facts.append(SUBJECTS)  # manners were once seen on nothing in particular
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
