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
from cns.kv import handed_attention
from worker.batches import choose_batch
from worker.memory import PictureTooLarge, give_memory_back, is_out_of_memory
from worker.orders import Order, Row, Size
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

    batch_rows: rows of one UNet call, at most; a guided picture takes two. room: fewer, for sizes whose pictures were
    too large to go together.
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
        self.room: dict[Size, int] = {}
        self._steps = 0
        self._served: dict[object, int] = {}  # owner -> the last step that they had a picture in
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
            waiting = [row for order in orders for row in order.rows]
            batch = choose_batch(waiting, self.batch_rows, self.room, self._served)
            self._note_served(batch, orders)
            batch = [row for row in batch if self._begun(row)]
            if not batch:
                return
            begun = time.monotonic()
            self._together_or_fewer(batch, self._denoise)
            finished = [row for row in batch if row.run is not None and row.run.done]
            for start in range(0, len(finished), DECODED_AT_ONCE):
                self._together_or_fewer(finished[start : start + DECODED_AT_ONCE], self._deliver)
            self._preview(batch)
            self.row_pace.note((time.monotonic() - begun) / sum(row.width for row in batch))

    def _note_served(self, batch: Sequence[Row], orders: Sequence[Order]) -> None:
        """Remember who got this step, of those who still wait for something."""
        self._steps += 1
        owners = {order.owner for order in orders}
        self._served = {owner: step for owner, step in self._served.items() if owner in owners}
        self._served |= {row.owner: self._steps for row in batch}

    def _begun(self, row: Row) -> bool:
        """Give a row its run; an order that cannot be begun fails by itself."""
        if row.order.finished.is_set():
            return False
        if row.run is None:
            try:
                row.run = GenerationRun(self.base, row.order.version(), row.request)
            except Exception as error:
                self._check_device()
                row.order.fail(PictureTooLarge() if is_out_of_memory(error) else error)
                return False
        return True

    def _together_or_fewer(self, rows: Sequence[Row], work: Callable[[Sequence[Row]], None]) -> None:
        """Do `work` for all rows at once; when it fails, for each half, so that only whom it fails for alone fails."""
        rows = [row for row in rows if not row.order.finished.is_set()]
        if not rows:
            return
        try:
            work(rows)
            return
        except Exception as error:
            self._check_device()
            short = is_out_of_memory(error)
            if len(rows) == 1:
                rows[0].order.fail(PictureTooLarge() if short else error)
                return
            log.warning("A step of %d pictures failed, so fewer are tried: %r", len(rows), error)
        # Out here, as the error held on to the tensors of all the calls that it came through.
        if short:
            give_memory_back(self.base.device)
        half = len(rows) // 2
        self._together_or_fewer(rows[:half], work)
        self._together_or_fewer(rows[half:], work)

    def _denoise(self, rows: Sequence[Row]) -> None:
        """One UNet call for all of them. When it fails, each run has taken its step or has not."""
        runs = [row.run for row in rows if row.run is not None and not row.run.done]
        if not runs:
            return
        try:
            with handed_attention(self.base.unet):
                denoise_step(self.base, runs)
            if self.base.device.type == "cuda":
                torch.cuda.synchronize(self.base.device)  # else the time would be booked on whoever comes next
        except Exception as error:
            if is_out_of_memory(error):  # fewer of this size from now on
                self.room[rows[0].size_px] = max(1, sum(run.rows for run in runs) // 2)
            raise

    def _deliver(self, rows: Sequence[Row]) -> None:
        pixels = self._decode([row.run for row in rows if row.run is not None])
        for row, picture in zip(rows, pixels, strict=True):
            row.order.deliver(row, picture)

    def _decode(self, runs: Sequence[GenerationRun]) -> Tensor:
        """(n, 3, height, width) float32 in 0..1 on the CPU."""
        return self.base.decode_latents(torch.cat([run.latents for run in runs])).cpu()

    def _preview(self, batch: Sequence[Row]) -> None:
        """A look at the pictures on their way, for orders where somebody asked for one."""
        for order in {id(row.order): row.order for row in batch if row.order.preview_wanted}.values():
            runs = [
                row.run for row in order.rows if row.run is not None and row.run.steps_done > 0 and not row.run.done
            ]
            if not runs or order.finished.is_set():
                continue
            try:
                scaled = runs[0].scheduler.scale_model_input(runs[0].latents, runs[0].timestep)
                order.show(self.base.decode_latents(scaled)[0].cpu(), runs[0].steps_done)
            except Exception as error:  # the picture is worth more than a look at it
                self._check_device()
                order.preview_wanted = False
                log.warning("There is no look at a picture on its way: %r", error)

    def _check_device(self) -> None:
        """After an error: one on a GPU may have broken it for the whole process, and every later job would fail."""
        if self.base.device.type == "cuda":
            try:
                torch.cuda.synchronize(self.base.device)
            except torch.OutOfMemoryError:
                return
            except RuntimeError as error:
                raise DeviceLost("The device cannot be used any more.") from error
