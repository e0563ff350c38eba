"""Which queues a worker reads: those of its base, shared with the others that have it, and its own."""

from celery import Celery

from app.celery_sender import named_queue
from app.queue import TASKS, own_queue_of, queue_of


def read_queues(celery: Celery, base_id: str, worker_id: str) -> None:
    """To be called when the base is known, before this application sends or reads its first message."""
    names = [own_queue_of(worker_id), *(queue_of(task, base_id) for task in TASKS)]
    celery.amqp.queues = [named_queue(name) for name in names]
