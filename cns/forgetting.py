"""Forgetting a concept exactly: the later concepts are learned again, as if it had never been there.

Here is only the plan, which is a value; whoever carries it out brings the pictures and steps a `LearningRun` for each
lesson, on top of what was learned before it.
"""

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass

from cns.delta import Delta
from cns.settings import LearningSettings, change_settings
from cns.text import as_any, without_strangers
from cns.unlearning import place_of


@dataclass(frozen=True)
class LessonAgain:
    """A concept to be learned again exactly as it was: with its captions, one a picture, and all of its settings.

    Captions that named concepts which the new line does not know say their class noun, or leave them out.
    """

    name: str
    class_noun: str
    captions: tuple[str, ...]
    settings: LearningSettings


@dataclass(frozen=True)
class ForgettingPlan:
    """forgotten: the delta that is left out. before: the deltas below it, which stay. lessons: in order of learning."""

    forgotten: Delta
    before: tuple[Delta, ...]
    lessons: tuple[LessonAgain, ...]


def plan_forgetting(deltas: Sequence[Delta], name: str, own_tokens: Collection[str] = ()) -> ForgettingPlan:
    """What is to be learned again so that the line of `deltas` goes on without the concept `name`.

    own_tokens: the base's, which captions may name. Raises NothingToForget for a concept that is not among the deltas,
    UnknownSetting for a delta whose settings this version of the method does not have.
    """
    place = place_of(deltas, name)
    before, forgotten = tuple(deltas[:place]), deltas[place]
    known = {*own_tokens, *(delta.token for delta in before)}
    lessons: list[LessonAgain] = []
    for delta in deltas[place + 1 :]:
        known.add(delta.token)
        lessons.append(
            LessonAgain(
                delta.concept,
                delta.class_noun,
                tuple(_without(caption, forgotten, known) for caption in delta.report.get("captions", ())),
                change_settings(LearningSettings(), delta.settings),
            )
        )
    return ForgettingPlan(forgotten, before, tuple(lessons))


def _without(caption: str, forgotten: Delta, known: Container[str]) -> str:
    """A caption for a line that knows only the tokens `known`; the forgotten concept is any thing of its noun there."""
    return without_strangers(as_any(caption, forgotten.token, forgotten.class_noun), known)
