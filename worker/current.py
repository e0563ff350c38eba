"""The worker of this process. Celery's tasks and signals are functions, so it has to be found somewhere."""

import threading

from app.config import Settings
from app.db import Send
from worker.process import Worker

_worker: Worker | None = None
closed = threading.Event()


def load(settings: Settings, send: Send) -> Worker:
    """To be started by the caller."""
    global _worker
    _worker = Worker.load(settings, send)
    return _worker


def worker() -> Worker:
    if _worker is None:
        raise RuntimeError("No worker was started in this process.")
    return _worker


def stop() -> None:
    if _worker is not None:
        _worker.stop()


def close() -> None:
    if _worker is not None:
        _worker.close()
    closed.set()
