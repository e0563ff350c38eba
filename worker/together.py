"""One optimiser step of several learnings in one call of the UNet. On the engine's thread alone."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from app.config import Settings
from cns.learning import LearningRun
from cns.learning_together import Outcome, step_together
from cns.memory import is_out_of_memory
from worker.device import check_device, give_memory_back
from worker.errors import let_go
from worker.turns import LearningSteps, take_turn

log = logging.getLogger(__name__)
ROWS_ON_A_GPU = 64

Note = Callable[[Callable[[], list[Outcome]], int], list[Outcome]]
"""Takes the step that it is given, of so many rows, and notes how long it took."""


def rows_together(settings: Settings, device: torch.device) -> int:
    """How many rows of learnings may share a call: as set, else as was measured to pay (docs/decisions/0016)."""
    if settings.learning_rows is not None:
        return settings.learning_rows
    return ROWS_ON_A_GPU if device.type == "cuda" else 0


class Together:
    """Takes steps of learnings together and lets none fail for another.

    rows: of one call of the UNet, at most; 0 takes each learning by itself.
    """

    def __init__(self, device: torch.device, rows: int, note: Note = lambda step, rows: step()):
        self._device, self._rows, self._note = device, rows, note
        self._room: dict[Any, int] = {}  # latents' size -> rows that the memory suffices for, where it did not for more

    def most_rows(self, run: LearningRun) -> int:
        """Of a call of the UNet with latents as large as this learning's."""
        return min(self._rows, self._room.get(_size(run), self._rows))

    def take(self, works: Sequence[LearningSteps]) -> list[LearningSteps]:
        """One step of each; those that go on. Whoever waits for one of the others is answered."""
        ready = [work for work in works if self._may_go_on(work)]
        if len(ready) == 1:
            return [work for work in ready if take_turn(work, work.step, self._device)]
        rows = sum(work.run.settings.batch for work in ready)
        try:
            outcomes = self._note(partial(step_together, [work.run for work in ready]), rows) if ready else []
        except Exception as error:
            check_device(self._device)
            # Its words alone: whatever keeps the record would keep the error, and the tensors with it.
            log.warning("A step of %d learnings together failed, so fewer are tried: %s", len(ready), repr(error))
            short = is_out_of_memory(error)
        else:
            accepted = [partial(_accept, work, outcome) for work, outcome in zip(ready, outcomes, strict=True)]
            pairs = zip(ready, accepted, strict=True)
            return [work for work, accept in pairs if take_turn(work, accept, self._device)]
        # Out here, as the error held on to the tensors of all the calls that it came through.
        if short:
            self._room[_size(ready[0].run)] = max(1, rows // 2)
            give_memory_back(self._device)
        half = len(ready) // 2
        return [*self.take(ready[:half]), *self.take(ready[half:])]

    def _may_go_on(self, work: LearningSteps) -> bool:
        try:
            work.check()
        except BaseException as error:  # it is the job's own
            work.done.set_exception(let_go(error))
            return False
        return True


def _accept(work: LearningSteps, outcome: Outcome) -> float:
    if isinstance(outcome, Exception):
        raise outcome
    return work.accept(outcome)


def _size(run: LearningRun) -> torch.Size:
    return run.pictures.latents.shape[1:]
