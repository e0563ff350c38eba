"""Denoising steps by a compiled denoiser, where there is one that gives the same answers and is faster.

A worker begins with eager steps. When steps of one form have come often enough, its denoiser is compiled in another
process; when it is there, steps of each number of rows try it (`worker.trial`), and then take the faster way. Nobody
waits for any of that. Called on the engine's thread alone, but for `stop`.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.binding import BoundRows
from cns.compiled import CompiledDenoiser
from cns.compiling import Form
from cns.kv import LayerKV, predict
from cns.regions import RegionsOfRows
from worker.device import check_device
from worker.trial import Trial, Way

log = logging.getLogger(__name__)
WORTH_STEPS = 100  # of one form: what was asked for once or twice is not worth minutes of a core
MOST_FORMS = 4  # compiled by one worker: people may ask for thousands of sizes, and each takes minutes
MOST_COUNTED = 64  # forms whose steps are counted
LONGEST_S = 1.0  # of a step on a CPU: a compiled one holds Python's lock all the while, and heartbeats wait for it
APART = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""How far the answers may lie apart, as a share of the largest value: what another order of adding up comes to."""


class Compiles(Protocol):
    """As `worker.compiling.Compiler` does; on a thread of its own."""

    def compile(self, form: Form) -> CompiledDenoiser: ...

    def stop(self) -> None: ...


@dataclass
class _Known:
    """Of one form. coming: its denoiser, once it was asked for. trials: by rows. given_up: eager for good.

    steps: that were short enough to be worth compiling. row_s: of an eager step, the least that one row took.
    """

    steps: int = 0
    row_s: float = inf
    coming: "Future[CompiledDenoiser] | None" = None
    denoiser: CompiledDenoiser | None = None
    trials: dict[int, Trial] = field(default_factory=dict)
    given_up: bool = False


class CompiledSteps:
    """Answers as `cns.kv.predict` does. worth_steps: of one form that are taken before it is compiled."""

    def __init__(self, base: BaseModel, compiler: Compiles, worth_steps: int = WORTH_STEPS):
        self._base, self._compiler, self._worth = base, compiler, worth_steps
        self._known: OrderedDict[Form, _Known] = OrderedDict()
        self._stopping = threading.Lock()
        self._stopped = False
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="compiling")  # it waits, and loads; it computes nothing

    def __call__(
        self,
        base: BaseModel,
        latents: Tensor,
        timesteps: Tensor,
        kv: LayerKV,
        added: Mapping[str, Tensor] | None = None,
        regions: RegionsOfRows | None = None,
        bound: BoundRows | None = None,
    ) -> Tensor:
        """One denoising step's answer; steps with regions or bound concepts, whose rows attend in a way of their own,
        are always eager.
        """

        def step_eagerly() -> Tensor:
            return predict(base, latents, timesteps, kv, added, regions, bound)

        if regions or bound is not None:
            return step_eagerly()
        known, rows = self._look_up(Form.of(latents, kv, added)), len(latents)
        denoiser = known.denoiser
        if denoiser is None:
            return self._counted(known, rows, step_eagerly)
        if not denoiser.takes(rows) or not self._is_short(known.row_s * rows):
            return step_eagerly()
        trial = known.trials.setdefault(rows, Trial())
        return self._take(known, trial, step_eagerly, lambda: denoiser(latents, timesteps, kv, added))

    def stop(self) -> None:
        """End the compilation that runs, and begin no other."""
        with self._stopping:
            self._stopped = True
        self._compiler.stop()
        self._aside.shutdown(wait=True, cancel_futures=True)

    def wait(self) -> None:
        """Until every compilation that was begun has ended. To be called while no step is taken: for measurements."""
        for known in self._known.values():
            if known.coming is not None:
                known.coming.exception()

    def shares(self) -> dict[int, float]:
        """Rows -> the compiled step's time as a share of the eager one's, of those that were tried to the end."""
        trials = [pair for known in self._known.values() for pair in known.trials.items()]
        return {rows: trial.share for rows, trial in trials if trial.share is not None}

    # --- which denoiser ------------------------------------------------------------------------------------------

    def _look_up(self, form: Form) -> _Known:
        """What is known of a form; that of which nothing was heard for longest is forgotten."""
        known = self._known.setdefault(form, _Known())
        if known.given_up or known.denoiser is not None:
            return known
        if known.coming is None:
            self._known.move_to_end(form)
            if known.steps >= self._worth:
                known.coming = self._begin(form)
            self._forget_some()
        elif known.coming.done():
            self._take_in(form, known, known.coming)
        return known

    def _begin(self, form: Form) -> "Future[CompiledDenoiser] | None":
        with self._stopping:
            begun = sum(known.coming is not None for known in self._known.values())
            if self._stopped or begun >= MOST_FORMS:
                return None
            return self._aside.submit(self._compiler.compile, form)

    def _counted(self, known: _Known, rows: int, step: Callable[[], Tensor]) -> Tensor:
        begun = time.monotonic()
        made = step()
        seconds = time.monotonic() - begun
        known.row_s = min(known.row_s, seconds / rows)
        known.steps += self._is_short(seconds)
        return made

    def _is_short(self, seconds: float) -> bool:
        """On a GPU a call returns before its work is done, whichever way it was taken."""
        return self._base.device.type != "cpu" or seconds <= LONGEST_S

    def _forget_some(self) -> None:
        for form in [form for form, known in self._known.items() if known.coming is None][:-MOST_COUNTED]:
            del self._known[form]

    def _take_in(self, form: Form, known: _Known, coming: "Future[CompiledDenoiser]") -> None:
        try:
            known.denoiser = coming.result()
            log.info("The step for latents of %s is compiled, and tried.", form.latents)
        except Exception as error:  # a full disk too is no reason why anybody's picture should fail
            known.given_up = True
            if not self._stopped:
                log.warning("Steps stay as they are, without compiling: %s", error)

    # --- which way -----------------------------------------------------------------------------------------------

    def _take(
        self, known: _Known, trial: Trial, step_eagerly: Callable[[], Tensor], step_compiled: Callable[[], Tensor]
    ) -> Tensor:
        settled, way = trial.verdict is not None, trial.choose()
        if way is Way.EAGER:
            return step_eagerly() if settled else self._timed(trial, way, step_eagerly)
        try:
            made = step_compiled() if settled or way is Way.BOTH else self._timed(trial, way, step_compiled)
        except Exception as error:  # whoever waits gets the picture the other way
            check_device(self._base.device)
            known.denoiser, known.given_up = None, True
            log.warning("Steps of this form are not compiled any more: %r", error)
            return step_eagerly()
        if way is not Way.BOTH:
            return made
        expected = step_eagerly()
        trial.compare(_agree(made, expected))
        if not trial.agrees:
            log.warning("The compiled step of %d rows gives other answers, so it is not used.", len(made))
        return expected

    def _timed(self, trial: Trial, way: Way, step: Callable[[], Tensor]) -> Tensor:
        self._wait_for_device()
        begun = time.monotonic()
        made = step()
        self._wait_for_device()
        trial.note(way, time.monotonic() - begun)
        if trial.verdict is not None and trial.share is not None:
            log.info("A compiled step of %d rows takes %.2f of the time: %s.", len(made), trial.share, trial.verdict)
        return made

    def _wait_for_device(self) -> None:
        if self._base.device.type == "cuda":
            torch.cuda.current_stream(self._base.device).synchronize()


def _agree(made: Tensor, expected: Tensor) -> bool:
    """Within what rounding makes of it; what is not a number agrees with nothing."""
    most = APART[str(expected.dtype).removeprefix("torch.")]
    apart, largest = (made.float() - expected.float()).abs().max(), expected.float().abs().max()
    return bool(apart <= most * largest)
