"""Numbers of jobs and workers for /metrics, as the database has them."""

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.jobs.models import Job
from app.jobs.service import list_workers

PROMPTS = {
    "hits": "Prompts whose K and V were kept, since the worker began.",
    "misses": "Prompts whose K and V were computed, since the worker began.",
    "entries": "Prompts of which K and V are kept.",
    "bytes": "What K and V of the prompts that are kept take of the device's memory.",
}
"""Figure of a worker's `holds["prompts"]` -> what it says."""


def figures_of(session: Session) -> CollectorRegistry:
    """Jobs by kind and state, and what each worker reported of itself within the last minute."""
    asked = CollectorRegistry()
    _count_jobs(session, asked)
    _show_workers(session, asked)
    return asked


def _count_jobs(session: Session, asked: CollectorRegistry) -> None:
    jobs = Gauge("palimpsest_jobs", "Jobs by kind and state.", ["kind", "state"], registry=asked)
    for kind, state, count in session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)):
        jobs.labels(kind, state).set(count)


def _show_workers(session: Session, asked: CollectorRegistry) -> None:
    workers = list_workers(session)
    Gauge("palimpsest_workers", "Workers that reported within the last minute.", registry=asked).set(len(workers))
    for figure, said in PROMPTS.items():
        shown = Gauge(f"palimpsest_prompt_cache_{figure}", said, ["worker"], registry=asked)
        for worker in workers:
            if figure in (kept := worker.holds.get("prompts", {})):
                shown.labels(worker.id).set(kept[figure])
