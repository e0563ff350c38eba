"""The lower bound: the base alone, for which a concept is any thing of its class."""

from collections.abc import Mapping

from benchmarks.continual.method import Budget, Cost, Lesson, Method, OnStep, Painter, no_steps, plain_version
from cns.base_model import BaseModel


class BaseAlone:
    """Learns nothing and reads "<rex> dog" as "dog". For a style or a place its class noun stands likewise."""

    def __init__(self, base: BaseModel) -> None:
        self.base = base
        self.nouns: dict[str, str] = {}

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        self.nouns[f"{lesson.token} {lesson.class_noun}"] = lesson.class_noun
        return Cost(trained_parameters=0, stored_bytes=0, seconds=0.0)

    def painter(self) -> Painter:
        return Painter(self.base, plain_version(self.base), dict(self.nouns))


def _start(base: BaseModel, budget: Budget, options: Mapping[str, float]) -> BaseAlone:
    return BaseAlone(base)


BASE_ALONE = Method("base", "The base alone", "bounds", "bound", _start)
