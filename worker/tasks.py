"""The two tasks. Thin: find the worker, call the use case. Safe to be delivered twice, or for a job that is gone."""

from uuid import UUID

from app.jobs.models import JobKind
from app.queue import GENERATE, LEARN
from worker import current
from worker.celery_app import celery
from worker.generating import generate
from worker.learning import learn


@celery.task(name=GENERATE)
def generate_pictures(job_id: str) -> None:
    generate(current.worker(), UUID(job_id))


@celery.task(name=LEARN)
def learn_concept(job_id: str) -> None:
    """Without a free slot the message is dropped: whoever has one later rings again."""
    worker = current.worker()
    if not worker.learning_slots.acquire(blocking=False):
        return
    try:
        worked = learn(worker, UUID(job_id))
    finally:
        worker.learning_slots.release()
    if worked and not worker.hands.stopping.is_set():
        worker.sweep.ring(kind=JobKind.LEARN)  # the next one of this history may begin now
