"""Steps of several learnings in one pass of the UNet, forwards and backwards: each as it would have been alone.

The learnings share no parameter and no row sees another row, so one backward pass from all their losses gives each of
them its own gradients. Everything else stays each one's own: values, token, optimiser, noise, number of steps.
In a batch of another size a device may add up in another order, so the last bits of a result may differ from those of
the same learning alone (docs/decisions/0016).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from cns.errors import LearningRefused
from cns.learning import LearningRun, Losses
from cns.learning_rows import ask_unet, borrowed_unet
from cns.memory import is_out_of_memory

Outcome = float | Exception
"""The diffusion loss of a step that was taken, or what was wrong with that learning alone."""

T = TypeVar("T")


def group_learnings(runs: Sequence[LearningRun], most_rows: int) -> list[list[LearningRun]]:
    """Who can go together, in the order of `runs`: at most `most_rows` rows a group, but at least one learning.

    Those of one group have one base, latents of one size, and the same mixed precision and gradient checkpointing.
    """
    groups: list[list[LearningRun]] = []
    open_groups: dict[object, list[LearningRun]] = {}
    for run in runs:
        settings = run.settings
        kind = (id(run.base), run.pictures.latents.shape[1:], settings.mixed_precision, settings.gradient_checkpointing)
        group = open_groups.get(kind)
        if group is None or sum(one.settings.batch for one in group) + settings.batch > most_rows:
            group = open_groups[kind] = []
            groups.append(group)
        group.append(run)
    return groups


def step_together(runs: Sequence[LearningRun]) -> list[Outcome]:
    """One optimiser step of each run, which are one group of `group_learnings`; the outcome of each, in their order.

    What goes wrong with one run by itself is its outcome, and the others take their step. A loss that is not finite is
    an outcome like any other, and spoils no other's. What goes wrong with the pass that they share is raised, and so is
    too little memory, whoever met it: then no run has moved, and fewer of them can be tried.
    Raises LearningRefused for runs that cannot go together.
    """
    if len(group_learnings(runs, sum(run.settings.batch for run in runs))) > 1:
        raise LearningRefused("These learnings cannot go together: their bases, sizes or settings differ.")
    outcomes: dict[int, Outcome] = {}
    try:
        losses = find_gradients(runs, outcomes)
    except BaseException:
        for run in runs:
            run.forget_gradients()
        raise
    for place, found in losses.items():
        try:
            outcomes[place] = runs[place].move(found)
        except Exception as error:
            outcomes[place] = error
    return [outcomes[place] for place in range(len(runs))]


def find_gradients(runs: Sequence[LearningRun], outcomes: dict[int, Outcome]) -> dict[int, Losses]:
    """One pass forwards and backwards: place -> losses of the next step, whose gradients are then in the parameters.

    A run with which something goes wrong by itself has its error in `outcomes` instead.
    """
    asked = _each(range(len(runs)), lambda place: runs[place].ask(), outcomes)
    if not asked:
        return {}
    base, settings = runs[0].base, runs[0].settings
    with borrowed_unet(base, checkpointing=settings.gradient_checkpointing):
        rows = [one for _, one in asked.values()]
        made = dict(zip(asked, ask_unet(base, rows, mixed_precision=settings.mixed_precision), strict=True))
        losses = _each(asked, lambda place: runs[place].judge(asked[place][0], made[place]), outcomes)
        if losses:
            torch.autograd.backward([one.scaled for one in losses.values()])
    return losses


def _each(places: Iterable[int], work: Callable[[int], T], outcomes: dict[int, Outcome]) -> dict[int, T]:
    """What `work` makes of each place; where it fails, the error is the outcome there. Raises for want of memory."""
    made: dict[int, T] = {}
    for place in places:
        try:
            made[place] = work(place)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            outcomes[place] = error
    return made
