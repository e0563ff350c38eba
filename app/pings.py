"""Connections that have rested are asked whether they still work before they are used again.

The database may have been started anew meanwhile. SQLAlchemy's own `pool_pre_ping` asks before every use: two of the
seven journeys to the database that `GET /jobs/{id}` makes.
"""

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

RESTED_S = 0.5  # a database is not started anew faster than that; whoever asks meanwhile meets an error in any case


def ping_rested(engine: Engine, rested_s: float = RESTED_S) -> None:
    """From now on. One that does not answer takes all of the pool with it, and whoever wanted it gets a new one."""

    @event.listens_for(engine, "checkin")
    def note(_connection: object, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: Any, _proxy: object) -> None:
        since = record.info.get("rests_since")
        if since is None or time.monotonic() - since < rested_s:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error
