"""The tasks. Thin: find the worker, call the use case. Safe to be delivered twice, or for a job that is gone.

A message says that a job waits. Which one is done is decided when a hand is free for it: each message still gets one
job done, but people take turns, however many of the messages in the queue are those of one of them.
"""

import logging
from collections.abc import Callable, Collection
from uuid import UUID

from sqlalchemy import select

from app.jobs.claims import kept_from, may_take, whose_turn
from app.jobs.models import LANE, Job, JobKind
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

log = logging.getLogger(__name__)


@celery.task(name=GENERATE)
def generate_pictures(job_id: str) -> None:
    """The message for another of its owner's may have come while they had as many in hand as one may, and be gone."""
    worker = current.worker()
    if do_next(worker, [JobKind.GENERATE], UUID(job_id), generate):
        ring_for_more(worker, [JobKind.GENERATE], most=1)


@celery.task(name=LEARN)
def learn_concept(job_id: str) -> None:
    do_in_lane(job_id)


@celery.task(name=FORGET)
def forget_concept(job_id: str) -> None:
    do_in_lane(job_id)


@celery.task(name=CAPTION)
def write_captions(base_id: str) -> None:
    """A worker of another base leaves it: whoever looks at the page rings again."""
    worker = current.worker()
    if base_id == worker.equipment.base.id:
        caption_uploads(worker)


def do_in_lane(job_id: str) -> None:
    """Without a free slot the message is dropped: whoever has one later rings again. Learnings and forgettings take
    turns with each other, as a message of either may be lost.
    """
    worker = current.worker()
    if not worker.learning_slots.acquire(blocking=False):
        return
    try:
        worked = do_next(worker, LANE, UUID(job_id), make_versions)
    finally:
        worker.learning_slots.release()
    if worked:  # the next one of this history, or of this owner, may begin now
        ring_for_more(worker, LANE)


def make_versions(worker: Worker, job_id: UUID) -> bool:
    """Do that learning, or that forgetting."""
    with worker.sessions() as session:
        kind = session.scalar(select(Job.kind).where(Job.id == job_id))
    return (forget if kind == JobKind.FORGET else learn)(worker, job_id)


def ring_for_more(worker: Worker, kinds: Collection[JobKind], most: int | None = None) -> None:
    """For what waited for a job that has ended; whatever goes wrong, the sweep rings too."""
    if worker.hands.stopping.is_set():
        return
    try:
        worker.sweep.ring(kinds=kinds, most=most)
    except AWAY as error:
        log.warning("The database is away, so the sweep rings: %s", str(error).splitlines()[0])


def do_next(worker: Worker, kinds: Collection[JobKind], job_id: UUID, do: Callable[[Worker, UUID], bool]) -> bool:
    """Do the job whose turn it is; returns whether there was one. job_id: the one that the message is about."""
    has_waited = False
    try:
        for _ in range(worker.settings.worker_threads):  # other hands may take the same one in the same moment
            kept_s = None
            with worker.sessions() as session:
                bases = bases_to_serve(worker, session)
                chosen = whose_turn(session, kinds, bases, worker.id, worker.most_of_one)
                if chosen is None and not has_waited:
                    kept_s = kept_from(session, kinds, bases, worker.id)
            if kept_s is not None:  # its message may have come to us, so we stand by in case its own worker does not
                worker.hands.stopping.wait(kept_s)
                has_waited = True
                continue
            if chosen is None or worker.hands.stopping.is_set():
                return False
            if do(worker, chosen):
                return True
        with worker.sessions() as session:
            is_theirs_to_have = may_take(session, job_id, worker.id, worker.most_of_one)
    except AWAY as error:
        log.error("Job %s is left to the sweep, as the database is away: %s", job_id, str(error).splitlines()[0])
        return False
    return is_theirs_to_have and do(worker, job_id)
