"""Pieces of learnings that wait for the device, and whose go next: a pure choice over what waits."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from cns.learning import LearningRun
from cns.learning_together import group_learnings
from worker.device import check_device
from worker.errors import let_go

T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class Turns(Generic[T]):
    """Work that is done piece by piece: `step` again and again, as long as `more` says so; the last answer counts.

    owner: whom it is for, as owners take turns; what is for nobody in particular takes them as if it were one's.
    """

    step: Callable[[], T]
    more: Callable[[], bool]
    owner: object = None
    done: "Future[T]" = field(default_factory=Future)


@dataclass(eq=False, kw_only=True)
class LearningSteps(Turns[float]):
    """Optimiser steps of one learning, each of which may be taken together with one of others.

    step: one by itself, with all that belongs to it. check: raises when the learning is to be put down. accept: is
    given the loss of a step that was taken with others, and gives it back; raises where it cannot be gone on from.
    """

    run: LearningRun
    check: Callable[[], None]
    accept: Callable[[float], float]


def choose_turns(
    waiting: Sequence[Turns[Any]], served: Mapping[object, int], most_rows: Callable[[LearningRun], int]
) -> list[Turns[Any]]:
    """Whose turn it is: one piece of work, or the steps of several learnings that are taken together.

    waiting: in the order of asking, what has had a turn behind what has not; at least one. served: owner -> the number
    of the last turn that they had. most_rows: of a call of the UNet with that learning in it; fewer than the learning
    has itself leave it alone.

    Owners take turns: next is whoever had none for longest, with the work that has waited longest. Everybody's first
    learning is taken along before anybody's second.
    """
    turn: Counter[object] = Counter()
    ranked: list[tuple[int, int, int, Turns[Any]]] = []
    for place, work in enumerate(waiting):
        ranked.append((turn[work.owner], served.get(work.owner, 0), place, work))
        turn[work.owner] += 1
    order = [work for *_, work in sorted(ranked, key=lambda entry: entry[:3])]
    first = order[0]
    if not isinstance(first, LearningSteps):
        return [first]
    steps = [work for work in order if isinstance(work, LearningSteps)]
    together = group_learnings([work.run for work in steps], most_rows(first.run))[0]
    return [work for work in steps if any(work.run is run for run in together)]


def take_turn(work: Turns[T], step: Callable[[], T], device: torch.device) -> bool:
    """Do `step` for `work`; whether there is more of it. If not, or when it fails, whoever waits for it is answered."""
    try:
        answer = step()
        more = work.more()
    except BaseException as error:  # it belongs to the job that asked, whatever it is
        check_device(device)
        work.done.set_exception(let_go(error))
        return False
    if not more:
        work.done.set_result(answer)
    return more
