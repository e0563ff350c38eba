"""Whether a worker of this machine reported lately: `python -m app.worker_alive`, the health check of its image."""

import argparse
import socket
import sys
from datetime import timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.exc import SQLAlchemyError

from app.config import WrongSettings, settings
from app.db import Sessions, make_engine, make_sessions
from app.jobs.models import WorkerRow

SILENT_FOR = timedelta(minutes=1)


def worker_is_alive(sessions: Sessions, host: str) -> bool:
    """A worker's id begins with the name of its machine, which for a container is its own."""
    mine = WorkerRow.id.startswith(f"{host}:", autoescape=True)
    with sessions() as session:
        return bool(session.scalar(select(exists().where(mine, WorkerRow.seen_at > func.now() - SILENT_FOR))))


def main() -> None:
    argparse.ArgumentParser(description="Ask whether a worker of this machine reported lately.").parse_args()
    try:
        engine = make_engine(settings().database_url)
    except WrongSettings as error:
        sys.exit(str(error))
    try:
        alive = worker_is_alive(make_sessions(engine), socket.gethostname())
    except SQLAlchemyError:
        sys.exit(0)  # it cannot be asked; starting the worker anew would not bring the database back
    finally:
        engine.dispose()
    sys.exit(None if alive else "No worker of this machine has reported within the last minute.")


if __name__ == "__main__":
    main()
