"""How far a job has come: once a second to the database, a few times a second to whoever watches."""

import logging
import time
from math import isfinite
from typing import Any

from app.db import Sessions
from app.jobs.claims import LostClaim, report
from worker.bell import Bell
from worker.hands import Hold
from worker.transactions import AWAY

log = logging.getLogger(__name__)
STORED_EVERY_S = 1.0
TOLD_EVERY_S = 0.2
MOST_LOSSES = 300  # points of the curve that are stored: more than a page can show


class Progress:
    """Of one job. facts: what is stored beside the steps, such as the losses so far; the caller may add to it."""

    def __init__(self, sessions: Sessions, bell: Bell, hold: Hold):
        self._sessions, self._bell, self._hold = sessions, bell, hold
        self.facts: dict[str, Any] = {}
        self.watched = False  # whether anybody heard the last message: previews are made for viewers alone
        self._stage, self._step, self._total = "", 0, 0
        self._began, self._first_step = time.monotonic(), 0
        self._stored_at = self._told_at = float("-inf")

    def begin(self, stage: str, total: int, step: int = 0) -> None:
        """A new stage, from `step` of `total` steps on: stored and told at once."""
        self._stage, self._step, self._total = stage, step, total
        self._began, self._first_step = time.monotonic(), step
        self._stored_at = self._told_at = float("-inf")
        self.tell(step)

    @property
    def total(self) -> int:
        return self._total

    def tell(self, step: int, loss: float | None = None) -> None:
        """So many steps are done; call it as often as you like."""
        now = time.monotonic()
        self._step = max(step, self._step)
        left = self._seconds_left(now)
        if now - self._stored_at >= STORED_EVERY_S:
            self._stored_at = now
            self.store(left)
        if now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            message: dict[str, Any] = {"kind": "progress", "stage": self._stage}
            message |= {"step": self._step, "steps_total": self._total, "seconds_left": left}
            if loss is not None and isfinite(loss):
                message["loss"] = loss
            self.watched = self._bell.publish(self._hold.job_id, message)

    def flush(self, step: int) -> None:
        """So many steps are done, to be stored now: a later attempt reads the facts."""
        self._step = max(step, self._step)
        self._stored_at = now = time.monotonic()
        self.store(self._seconds_left(now))

    def show(self, png_base64: str, step: int) -> None:
        """A look at a picture on its way."""
        self._bell.publish(
            self._hold.job_id,
            {
                "kind": "preview",
                "stage": self._stage,
                "step": step,
                "steps_total": self._total,
                "png_base64": png_base64,
            },
        )

    def store(self, seconds_left: float | None = None) -> None:
        """Write it to the database now. Progress is no truth that anything rests on: without a database it is lost."""
        facts = {**self.facts, "seconds_left": seconds_left}
        try:
            with self._sessions() as session, session.begin():
                report(
                    session,
                    self._hold.claim,
                    stage=self._stage,
                    step=self._step,
                    steps_total=self._total,
                    progress=facts,
                )
        except LostClaim:
            self._hold.lose()
        except AWAY as error:
            log.warning("Progress of job %s was not stored: %s", self._hold.job_id, str(error).splitlines()[0])
        else:
            self._bell.wake(self._hold.job_id)

    def _seconds_left(self, now: float) -> float | None:
        done = self._step - self._first_step
        if done <= 0 or now <= self._began:
            return None
        return round((self._total - self._step) * (now - self._began) / done, 1)


def thinned(losses: list[float], most: int = MOST_LOSSES) -> list[list[float]]:
    """[step, loss] of at most about `most` steps, the first and the last among them; JSON knows no NaN."""
    if not losses:
        return []
    apart = -(-len(losses) // most)
    steps = sorted({*range(1, len(losses) + 1, apart), len(losses)})
    return [[step, round(losses[step - 1], 6)] for step in steps if isfinite(losses[step - 1])]
