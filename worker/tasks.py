"""The tasks. Thin: find the worker, call the use case. Safe to be delivered twice, or for a job that is gone.

A message says that a job waits. Which one is done is decided when a hand is free for it: each message still gets one
job done, but people take turns, however many of the messages in the queue are those of one of them.
"""

from collections.abc import Callable
from uuid import UUID

from app.jobs.claims import kept_from, whose_turn
from app.jobs.models import LANE, JobKind
from app.queue import CAPTION, FORGET, GENERATE, LEARN
from worker import current
from worker.captioning import caption_uploads
from worker.celery_app import celery
from worker.forgetting import forget
from worker.generating import generate
from worker.learning import learn
from worker.process import Worker
from worker.reports import bases_to_serve
from worker.transactions import AWAY


@celery.task(name=GENERATE)
def generate_pictures(job_id: str) -> None:
    do_next(current.worker(), JobKind.GENERATE, UUID(job_id), generate)


@celery.task(name=LEARN)
def learn_concept(job_id: str) -> None:
    do_in_lane(JobKind.LEARN, job_id, learn)


@celery.task(name=FORGET)
def forget_concept(job_id: str) -> None:
    do_in_lane(JobKind.FORGET, job_id, forget)


@celery.task(name=CAPTION)
def write_captions(base_id: str) -> None:
    """A worker of another base leaves it: whoever looks at the page rings again."""
    worker = current.worker()
    if base_id == worker.equipment.base.id:
        caption_uploads(worker)


def do_in_lane(kind: JobKind, job_id: str, do: Callable[[Worker, UUID], bool]) -> None:
    """Without a free slot the message is dropped: whoever has one later rings again."""
    worker = current.worker()
    if not worker.learning_slots.acquire(blocking=False):
        return
    try:
        worked = do_next(worker, kind, UUID(job_id), do)
    finally:
        worker.learning_slots.release()
    if worked and not worker.hands.stopping.is_set():
        worker.sweep.ring(kinds=LANE)  # the next one of this history may begin now


def do_next(worker: Worker, kind: JobKind, job_id: UUID, do: Callable[[Worker, UUID], bool]) -> bool:
    """Do the job whose turn it is; returns whether there was one. job_id: the one that the message is about."""
    has_waited = False
    for _ in range(worker.settings.worker_threads):  # other hands may take the same one in the same moment
        kept_s = None
        try:
            with worker.sessions() as session:
                bases = bases_to_serve(worker, session)
                chosen = whose_turn(session, kind, bases, worker.id)
                if chosen is None and not has_waited:
                    kept_s = kept_from(session, kind, bases, worker.id)
        except AWAY:
            break  # the attempt says so
        if kept_s is not None:  # its message may have come to us, so we stand by in case its own worker does not come
            worker.hands.stopping.wait(kept_s)
            has_waited = True
            continue
        if chosen is None or worker.hands.stopping.is_set():
            return False
        if do(worker, chosen):
            return True
    return do(worker, job_id)
