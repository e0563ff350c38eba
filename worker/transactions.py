"""One short transaction, tried again while the database is away."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from app.db import Sessions

log = logging.getLogger(__name__)
T = TypeVar("T")

AWAY = (OperationalError, InterfaceError)
"""What is raised while the database cannot be reached, or was started anew under us."""
_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's name of it
PATIENCE_S = 60.0
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)


def transact(sessions: Sessions, work: Callable[[Session], T], patience_s: float = PATIENCE_S) -> T:
    """Call `work` in a transaction and commit it. While the database is away, try again for `patience_s` seconds.

    A commit may have come through although its answer was lost, so `work` must bear to be done twice: every write of a
    worker carries its attempt, and after the end of a job no attempt matches any more.
    """
    deadline = time.monotonic() + patience_s
    turn = 0
    while True:
        try:
            with sessions() as session, session.begin():
                return work(session)
        except AWAY as error:
            pause = PAUSES_S[min(turn, len(PAUSES_S) - 1)]
            if time.monotonic() + pause > deadline:
                raise
            log.warning("The database is away; trying again in %.1f s: %s", pause, str(error).splitlines()[0])
            time.sleep(pause)
            turn += 1


def is_locked(error: OperationalError) -> bool:
    """Whether the database is there, and only a row was not to be had within `lock_timeout`."""
    return getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE
