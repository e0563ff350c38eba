"""The one thread that owns the device.

Two kinds of work reach it. Pictures: rows of every request that waits, whoever asked and whatever version it is for,
go through the UNet in shared batches, one denoising step at a time. Turns: pieces of a learning, such as one optimiser
step. Between steps the engine gives the device to whichever of the two is behind its share.

Jobs live on other threads and wait here; nothing but this thread ever touches the model while the engine runs.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.denoise import GenerationRun, denoise_step
from cns.errors import CnsError
from cns.kv import handed_attention
from worker.batches import choose_batch
from worker.orders import Order, Row
from worker.shares import Lane, Shares

log = logging.getLogger(__name__)
T = TypeVar("T")
DECODED_AT_ONCE = 8  # pictures through the autoencoder together: bounds memory, changes no picture


@dataclass
class Turns(Generic[T]):
    """Work that is done piece by piece: `step` again and again, as long as `more` says so; the last answer counts."""

    step: Callable[[], T]
    more: Callable[[], bool]
    done: "Future[T]" = field(default_factory=Future)


@dataclass
class Pace:
    """How long things take here, lately: the mean over the last ones counts most."""

    seconds: float | None = None

    def note(self, seconds: float) -> None:
        self.seconds = seconds if self.seconds is None else 0.9 * self.seconds + 0.1 * seconds


class EngineStopped(Exception):
    """The engine was stopped before the work was done."""


class DeviceLost(BaseException):
    """The device is broken for this process. No job's fault that could be told, so nobody is to catch it."""


class Engine:
    """Owns the device of `base`.

    batch_rows: rows of one UNet call, at most; a guided picture takes two. Halved when the memory does not suffice.
    learning_share: of the device's time, while pictures are waiting.
    on_death: called when the device cannot be used any more, or the thread ended for whatever other reason.
    row_pace: seconds of one row of one denoising step.
    """

    def __init__(
        self,
        base: BaseModel,
        *,
        batch_rows: int = 16,
        learning_share: float = 0.5,
        on_death: Callable[[], None] = lambda: None,
    ):
        self.base, self.batch_rows = base, batch_rows
        self.shares = Shares(learning_share)
        self.row_pace = Pace()
        self._on_death = on_death
        self._orders: list[Order] = []
        self._turns: deque[Turns[object]] = deque()
        self._change = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._lanes: list[Lane] = []  # innermost last: a learning's turn may let pictures go in between
        self._since = 0.0

    # --- from any thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with whatever was asked for so far."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> None:
        """Finish the step that runs; whatever waits ends with EngineStopped."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        if not self._thread.is_alive():
            self._end_all(EngineStopped("The engine was stopped."))
        else:
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def ask(self, order: Order) -> None:
        """Let the pictures of `order` be made; it says itself when they are."""
        with self._change:
            if self._stopped:
                raise EngineStopped("The engine was stopped.")
            self._orders.append(order)
            self._change.notify_all()

    def turns(self, step: Callable[[], T], more: Callable[[], bool]) -> "Future[T]":
        """Let `step` be called on the engine's thread until `more()` is false; each call is one turn."""
        work = Turns(step, more)
        with self._change:
            if self._stopped:
                raise EngineStopped("The engine was stopped.")
            self._turns.append(work)  # type: ignore[arg-type]
            self._change.notify_all()
        return work.done

    def turn(self, work: Callable[[], T]) -> "Future[T]":
        """Let `work` be called once on the engine's thread. If it takes long it calls `pause` now and then."""
        left = iter((False,))
        return self.turns(work, lambda: next(left, False))

    @property
    def orders_waiting(self) -> int:
        with self._change:
            return sum(not order.finished.is_set() for order in self._orders)

    @property
    def rows_waiting(self) -> int:
        with self._change:
            return sum(row.width for order in self._orders if not order.finished.is_set() for row in order.rows)

    # --- on the engine's thread ----------------------------------------------------------------------------------

    def pause(self) -> None:
        """To be called by a long turn between steps of its own: whoever is behind goes first.

        Every other learning gets a step too, so that one long examination holds nobody up.
        """
        if threading.current_thread() is not self._thread:
            return
        self._book()
        while self._has_rows() and self.shares.choose(tuple(Lane)) is Lane.GENERATING:
            self._make_a_step()
        with self._change:
            others = list(self._turns)
        for _ in others:
            self._take_a_turn()

    def _run(self) -> None:
        try:
            while (lane := self._wait()) is not None:
                if lane is Lane.GENERATING:
                    self._make_a_step()
                else:
                    self._take_a_turn()
        except BaseException as error:
            log.exception("The engine's thread ended.")
            self._on_death()
            self._end_all(error)
            return
        self._end_all(EngineStopped("The worker stops."))

    def _wait(self) -> Lane | None:
        """Whose turn it is, as soon as there is work; None when the engine is to stop."""
        with self._change:
            while not self._stopped:
                self._orders = [order for order in self._orders if not order.finished.is_set()]
                waiting = [lane for lane, work in zip(Lane, (self._orders, self._turns), strict=True) if work]
                if waiting:
                    return self.shares.choose(waiting)
                self._change.wait()
        return None

    def _end_all(self, error: BaseException) -> None:
        with self._change:
            self._stopped = True
            orders, turns = self._orders, list(self._turns)
            self._orders, self._turns = [], deque()
        for order in orders:
            order.fail(error)
        for work in turns:
            work.done.set_exception(error)

    @contextmanager
    def _metered(self, lane: Lane) -> Iterator[None]:
        """What happens inside is on `lane`'s clock, less what is on another's that goes in between."""
        self._book()
        self._lanes.append(lane)
        try:
            yield
        finally:
            self._book()
            self._lanes.pop()

    def _book(self) -> None:
        now = time.monotonic()
        if self._lanes:
            self.shares.charge(self._lanes[-1], now - self._since)
        self._since = now

    # --- turns ---------------------------------------------------------------------------------------------------

    def _take_a_turn(self) -> None:
        with self._change:
            if not self._turns:
                return
            work = self._turns.popleft()
        try:
            with self._metered(Lane.LEARNING):
                answer = work.step()
                more = work.more()
        except BaseException as error:  # it belongs to the job that asked, whatever it is
            self._check_device()
            work.done.set_exception(error)
            return
        if not more:
            work.done.set_result(answer)
            return
        with self._change:
            self._turns.append(work)

    # --- pictures ------------------------------------------------------------------------------------------------

    def _has_rows(self) -> bool:
        with self._change:
            return any(not order.finished.is_set() for order in self._orders)

    def _make_a_step(self) -> None:
        """One denoising step of a batch, and whatever becomes finished by it."""
        with self._metered(Lane.GENERATING):
            with self._change:
                orders = [order for order in self._orders if not order.finished.is_set()]
            batch = choose_batch([row for order in orders for row in order.rows], self.batch_rows)
            batch = [row for row in batch if self._begun(row)]
            if not batch:
                return
            begun = time.monotonic()
            try:
                self._denoise(batch)
                self._deliver([row for row in batch if row.run is not None and row.run.done])
                self._preview(batch)
            except torch.OutOfMemoryError as error:
                self._make_room(batch, error)
                return
            except Exception as error:
                self._check_device()
                self._find_culprit(batch, error)
                return
            self.row_pace.note((time.monotonic() - begun) / sum(row.width for row in batch))

    def _begun(self, row: Row) -> bool:
        """Give a row its run; an order that cannot be begun fails by itself."""
        if row.order.finished.is_set():
            return False
        if row.run is None:
            try:
                row.run = GenerationRun(self.base, row.order.version(), row.request)
            except Exception as error:
                row.order.fail(error)
                return False
        return True

    def _denoise(self, batch: Sequence[Row]) -> None:
        """One UNet call for the whole batch. When it fails, each run has taken its step or has not."""
        with handed_attention(self.base.unet):
            denoise_step(self.base, [row.run for row in batch if row.run is not None])
        if self.base.device.type == "cuda":
            torch.cuda.synchronize(self.base.device)  # else the time would be booked on whoever comes next

    def _deliver(self, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), DECODED_AT_ONCE):
            part = rows[start : start + DECODED_AT_ONCE]
            for row, pixels in zip(part, self._decode([row.run for row in part if row.run is not None]), strict=True):
                row.order.deliver(row, pixels)

    def _decode(self, runs: Sequence[GenerationRun]) -> Tensor:
        """(n, 3, height, width) float32 in 0..1 on the CPU."""
        return self.base.decode_latents(torch.cat([run.latents for run in runs])).cpu()

    def _preview(self, batch: Sequence[Row]) -> None:
        """A look at the pictures on their way, for orders where somebody asked for one."""
        for order in {id(row.order): row.order for row in batch if row.order.preview_wanted}.values():
            runs = [
                row.run for row in order.rows if row.run is not None and row.run.steps_done > 0 and not row.run.done
            ]
            if runs:
                scaled = runs[0].scheduler.scale_model_input(runs[0].latents, runs[0].timestep)
                order.show(self.base.decode_latents(scaled)[0].cpu(), runs[0].steps_done)

    def _check_device(self) -> None:
        """After an error: one on a GPU may have broken it for the whole process, and every later job would fail."""
        if self.base.device.type == "cuda":
            try:
                torch.cuda.synchronize(self.base.device)
            except torch.OutOfMemoryError:
                return
            except RuntimeError as error:
                raise DeviceLost("The device cannot be used any more.") from error

    def _make_room(self, batch: Sequence[Row], error: Exception) -> None:
        """The memory did not suffice: smaller batches from now on, or this picture cannot be made here."""
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) == 1:
            batch[0].order.fail(CnsError("The device's memory does not suffice for this picture: make it smaller."))
            return
        self.batch_rows = max(1, sum(row.width for row in batch) // 2)
        log.warning("The memory did not suffice for %d pictures at a time: %s", len(batch), error)

    def _find_culprit(self, batch: Sequence[Row], error: Exception) -> None:
        """Something is wrong with one of the batch: each by itself, so that only that one fails."""
        if len(batch) == 1:
            batch[0].order.fail(error)
            return
        log.warning("A batch of %d pictures failed, so each is tried by itself: %r", len(batch), error)
        for row in batch:
            if row.order.finished.is_set() or row.run is None or row.run.done:
                continue
            try:
                self._denoise([row])
            except Exception as own:
                row.order.fail(own)
        self._deliver([row for row in batch if row in row.order.rows and row.run is not None and row.run.done])
