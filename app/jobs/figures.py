"""Numbers of jobs and workers for /metrics, as the database has them."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.jobs.estimates import count_errors
from app.jobs.models import Job, WorkerRow
from app.jobs.workers import list_workers

WRONG_BY = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
VERSIONS = {
    "hits": "Versions whose weights were kept, since the worker began.",
    "extended": "Versions whose weights were made of those of a version before them, since the worker began.",
    "misses": "Versions whose weights were made of the base's, since the worker began.",
    "entries": "Versions of which weights are kept.",
    "bytes": "What the weights of the versions that are kept take of the device's memory.",
}
PROMPTS = {
    "hits": "Prompts whose K and V were kept, since the worker began.",
    "misses": "Prompts whose K and V were computed, since the worker began.",
    "entries": "Prompts of which K and V are kept.",
    "bytes": "What K and V of the prompts that are kept take of the device's memory.",
}
CACHES = {"version": ("versions", VERSIONS), "prompt": ("prompts", PROMPTS)}
"""Cache -> its place in a worker's `holds`, and what each of its figures says."""


def figures_of(session: Session) -> CollectorRegistry:
    """Jobs by kind and state, and what each worker reported of itself within the last minute."""
    asked = CollectorRegistry()
    _count_jobs(session, asked)
    _show_workers(session, asked)
    asked.register(EstimateErrors(session))
    return asked


def _count_jobs(session: Session, asked: CollectorRegistry) -> None:
    jobs = Gauge("palimpsest_jobs", "Jobs by kind and state.", ["kind", "state"], registry=asked)
    for kind, state, count in session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)):
        jobs.labels(kind, state).set(count)


def _show_workers(session: Session, asked: CollectorRegistry) -> None:
    workers = list_workers(session)
    Gauge("palimpsest_workers", "Workers that reported within the last minute.", registry=asked).set(len(workers))
    for cache, (place, figures) in CACHES.items():
        for figure, said in figures.items():
            shown = Gauge(f"palimpsest_{cache}_cache_{figure}", said, ["worker"], registry=asked)
            for worker in workers:
                if figure in (kept := worker.holds.get(place, {})):
                    shown.labels(worker.id).set(kept[figure])
    _show_batches(workers, asked)


def _show_batches(workers: Sequence[WorkerRow], asked: CollectorRegistry) -> None:
    most = Gauge(
        "palimpsest_batch_rows",
        "Rows of one UNet call, at most, for pictures of a size.",
        ["worker", "size"],
        registry=asked,
    )
    taken = Gauge(
        "palimpsest_row_seconds",
        "Seconds of one row of a step with up to so many rows, for pictures of a size.",
        ["worker", "size", "rows"],
        registry=asked,
    )
    for worker in workers:
        for batch in worker.holds.get("batches", []):
            most.labels(worker.id, batch["size"]).set(batch["rows"])
            for rows, seconds in batch["row_seconds"].items():
                taken.labels(worker.id, batch["size"], rows).set(seconds)


class EstimateErrors(Collector):
    """How wrong what people were told was, of the jobs done within the last day: it is read, not counted here."""

    def __init__(self, session: Session):
        self._counted = count_errors(session, WRONG_BY)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        made = HistogramMetricFamily(
            "palimpsest_estimate_error_ratio",
            "|told - real| / real of the seconds from asking until done, of jobs done within the last day.",
            labels=["kind"],
        )
        for kind, (within, total, count) in sorted(self._counted.items()):
            bounds = [(str(bound), float(number)) for bound, number in zip(WRONG_BY, within, strict=True)]
            made.add_metric([kind], [*bounds, ("+Inf", float(count))], total)
        yield made
