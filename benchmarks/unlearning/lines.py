"""The lines of versions that are compared: the whole one, and one for each way of forgetting a concept of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.kept import digest_of
from benchmarks.learning import learn_whole, renders
from benchmarks.unlearning.memory import Memory
from cns.base_model import BaseModel
from cns.captions import Captioner
from cns.compose import compose
from cns.delta import Delta
from cns.forgetting import plan_forgetting
from cns.learning import Concept
from cns.phrases import load_calibration_prompts
from cns.settings import LearningSettings
from cns.teaching import Lesson, write_captions
from cns.unlearning import DEFAULT_OPTION, Option, forget
from storybook.individuals import Individual

LEARNED_FROM = 5  # pictures of each individual
EXACT = "exact"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Experiment:
    """Individuals learned one after another, and which of them is forgotten. seed: of the learnings."""

    base: BaseModel
    base_folder: Path
    captioner: Captioner
    settings: LearningSettings
    individuals: tuple[Individual, ...]
    forgotten: str

    @property
    def key(self) -> str:
        """Of all that decides the deltas: what is in memory under another key is of another experiment."""
        facts = {
            "base": self.base.id,
            "individuals": [asdict(who) for who in self.individuals],
            "captions": [concept.captions for concept in self.concepts],
            "forgotten": self.forgotten,
            "settings": self.settings.to_json(),
            "calibration": load_calibration_prompts(self.base_folder),
        }
        return digest_of(facts)[:16]

    @cached_property
    def concepts(self) -> tuple[Concept, ...]:
        """What is learned, in order."""
        return tuple(self._concept(who) for who in self.individuals)

    def _concept(self, who: Individual) -> Concept:
        pictures = tuple(renders(who, LEARNED_FROM, seed=300))
        return Concept(
            who.name, who.noun, pictures, write_captions(Lesson(who.name, who.noun, pictures), self.captioner)
        )

    def find(self, name: str) -> Individual:
        return next(who for who in self.individuals if who.name == name)


@dataclass(frozen=True)
class Line:
    """way: "before", one of `Option`, or "exact". seconds: that making it out of the whole line took."""

    way: str
    deltas: tuple[Delta, ...]
    seconds: float


def make_lines(experiment: Experiment, memory: Memory, say: Say) -> list[Line]:
    """The whole line first, then the others."""
    whole = _learn_all(experiment, memory, say)
    lines = [Line("before", whole, 0.0)]
    # Where nothing is shared, all of them do the same.
    for option in Option if overlap_with_later(experiment, whole)["shared"] else (DEFAULT_OPTION,):
        started = time.monotonic()
        done = forget(experiment.base, whole, experiment.forgotten, option)
        lines.append(Line(option.value, done.deltas, time.monotonic() - started))
    lines.append(_learn_again(experiment, whole, memory, say))
    return lines


def overlap_with_later(experiment: Experiment, whole: Sequence[Delta]) -> Mapping[str, int]:
    """How many entries of the forgotten concept are its own, and how many a later concept holds as well."""
    done = forget(experiment.base, whole, experiment.forgotten)
    return {"returned": done.returned, "shared": done.shared}


def _learn_all(experiment: Experiment, memory: Memory, say: Say) -> tuple[Delta, ...]:
    deltas: list[Delta] = []
    for concept in experiment.concepts:
        say(f"learning {concept.name}")
        deltas.append(memory.delta(f"whole-{concept.name}", lambda: _learn(experiment, deltas, concept)))  # noqa: B023
    return tuple(deltas)


def _learn_again(experiment: Experiment, whole: Sequence[Delta], memory: Memory, say: Say) -> Line:
    plan = plan_forgetting(whole, experiment.forgotten)
    deltas = list(plan.before)
    seconds = 0.0
    for lesson in plan.lessons:
        pictures = tuple(renders(experiment.find(lesson.name), LEARNED_FROM, seed=300))
        concept = Concept(lesson.name, lesson.class_noun, pictures, lesson.captions)
        say(f"learning {lesson.name} again")
        started = time.monotonic()
        delta = memory.delta(f"exact-{lesson.name}", lambda: _learn(experiment, deltas, concept))  # noqa: B023
        took = time.monotonic() - started
        seconds += memory.figures(f"exact-{lesson.name}-seconds", lambda: took)  # noqa: B023
        deltas.append(delta)
    return Line(EXACT, tuple(deltas), seconds)


def _learn(experiment: Experiment, below: Sequence[Delta], concept: Concept) -> Delta:
    version = compose(experiment.base, below)
    calibration = load_calibration_prompts(experiment.base_folder)
    return learn_whole(experiment.base, version, concept, experiment.settings, calibration)
