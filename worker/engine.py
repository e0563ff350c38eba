"""The one thread that owns the device.

Two kinds of work reach it. Pictures: rows of every request that waits, whoever asked and whatever version it is for,
go through the UNet in shared batches, one denoising step at a time. Turns: pieces of a learning, such as one optimiser
step, which several learnings may take together. Between steps the engine gives the device to whichever of the two is
behind its share; among learnings, owners take turns.

Jobs live on other threads and wait here; nothing but this thread ever touches the model while the engine runs.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from cns.base_model import BaseModel
from cns.kv import Predict, predict
from cns.preview import LatentPreview
from cns.prompts import Encode
from worker.device import use_device
from worker.orders import Order
from worker.painting import Painter
from worker.shares import Lane, Shares
from worker.together import Together
from worker.turns import LearningSteps, Turns, choose_turns, take_turn

log = logging.getLogger(__name__)
T = TypeVar("T")
LONG_AGO = 1000  # turns: who had none of the last so many is as one who had none at all


class EngineStopped(Exception):
    """The engine was stopped before the work was done."""


class Engine:
    """Owns the device of `base`.

    batch_rows: rows of one UNet call, at most; a guided picture takes two.
    learning_share: of the device's time, while pictures are waiting.
    together: takes steps of several learnings in one call; without it each goes by itself.
    encode, preview, call: of the painter.
    on_death: called when the device cannot be used any more, or the thread ended for whatever other reason.
    """

    def __init__(
        self,
        base: BaseModel,
        *,
        batch_rows: int = 16,
        learning_share: float = 0.5,
        together: Together | None = None,
        encode: Encode | None = None,
        preview: LatentPreview | None = None,
        call: Predict = predict,
        on_death: Callable[[], None] = lambda: None,
    ):
        self.base, self.painter = base, Painter(base, batch_rows, encode, preview, call)
        self.shares = Shares(learning_share)
        self._on_death = on_death
        self._orders: list[Order] = []
        self._turns: deque[Turns[Any]] = deque()
        self._together = together or Together(base.device, rows=0)
        self._turns_taken = 0
        self._served: dict[object, int] = {}  # owner -> the last turn that they had
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

    def add(self, work: Turns[T]) -> "Future[T]":
        """Let `work.step` be called on the engine's thread until `work.more()` is false; each call is one turn."""
        with self._change:
            if self._stopped:
                raise EngineStopped("The engine was stopped.")
            self._turns.append(work)
            self._change.notify_all()
        return work.done

    def turns(self, step: Callable[[], T], more: Callable[[], bool], owner: object = None) -> "Future[T]":
        """`add` work that never shares a turn with other work."""
        return self.add(Turns(step=step, more=more, owner=owner))

    def turn(self, work: Callable[[], T], owner: object = None) -> "Future[T]":
        """Let `work` be called once on the engine's thread. If it takes long it calls `pause` now and then."""
        return self.turns(work, lambda: False, owner)

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

        As many turns are taken as other learnings wait, so that one long examination holds nobody up.
        """
        if threading.current_thread() is not self._thread:
            return
        self._book()
        while self._has_rows() and self.shares.choose(tuple(Lane)) is Lane.GENERATING:
            self._make_a_step()
        with self._change:
            others = len(self._turns)
        while others > 0:
            others -= max(1, self._take_a_turn())

    def _run(self) -> None:
        try:
            use_device(self.base.device)
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

    def _take_a_turn(self) -> int:
        """Take the next turn; returns how many learnings had it together."""
        with self._change:
            if not self._turns:
                return 0
            works = choose_turns(self._turns, self._served, self._together.most_rows)
            for work in works:
                self._turns.remove(work)
            self._note_served(works)
        with self._metered(Lane.LEARNING):
            steps = [work for work in works if isinstance(work, LearningSteps)]
            if len(steps) > 1:
                going_on: Sequence[Turns[Any]] = self._together.take(steps)
            else:
                going_on = [work for work in works if take_turn(work, work.step, self.base.device)]
        with self._change:
            self._turns.extend(going_on)
        return len(works)

    def _note_served(self, works: Sequence[Turns[Any]]) -> None:
        self._turns_taken += 1
        self._served = {owner: turn for owner, turn in self._served.items() if turn > self._turns_taken - LONG_AGO}
        self._served |= {work.owner: self._turns_taken for work in works}

    # --- pictures ------------------------------------------------------------------------------------------------

    def _has_rows(self) -> bool:
        with self._change:
            return any(not order.finished.is_set() for order in self._orders)

    def _make_a_step(self) -> None:
        with self._metered(Lane.GENERATING):
            with self._change:
                orders = [order for order in self._orders if not order.finished.is_set()]
            self.painter.step(orders)
