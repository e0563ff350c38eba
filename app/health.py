"""Is it alive, is it ready, and its numbers."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select, text

from app.deps import AppState
from app.jobs.models import Job, WorkerRow
from app.metrics import REGISTRY
from app.standing import parts_of

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def is_alive() -> PlainTextResponse:
    """The process answers. Nothing else is asked, so that a slow database gets nobody killed."""
    return PlainTextResponse("ok")


@router.get("/readyz")
def is_ready(state: AppState) -> JSONResponse:
    """Database, broker and storage can be used; 503 with the names of those that cannot."""
    parts = parts_of(state)
    ready = all(value == "ok" for value in parts.values())
    return JSONResponse({"ready": ready, **parts}, 200 if ready else 503)


@router.get("/metrics")
def show_metrics(state: AppState) -> Response:
    """Prometheus' text format: requests of this process, and jobs and workers as the database has them."""
    asked = CollectorRegistry()
    jobs = Gauge("palimpsest_jobs", "Jobs by kind and state.", ["kind", "state"], registry=asked)
    workers = Gauge("palimpsest_workers", "Workers that reported within the last minute.", registry=asked)
    with state.readers() as session:
        for kind, job_state, count in session.execute(
            select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)
        ):
            jobs.labels(kind, job_state).set(count)
        recent = WorkerRow.seen_at > func.now() - text("interval '1 minute'")
        workers.set(session.scalar(select(func.count()).select_from(WorkerRow).where(recent)) or 0)
    return Response(generate_latest(REGISTRY) + generate_latest(asked), media_type=CONTENT_TYPE_LATEST)
