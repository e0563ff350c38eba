"""Is it alive, is it ready, and its numbers."""

from functools import partial

from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from app.deps import AppState
from app.jobs.figures import figures_of
from app.metrics import REGISTRY
from app.routing import page_router
from app.standing import parts_of

router = page_router()


@router.get("/healthz")
async def is_alive() -> PlainTextResponse:
    """The process answers. Nothing else is asked, so that a slow database gets nobody killed, and no thread is waited
    for, so that requests that wait for one do not either.
    """
    return PlainTextResponse("ok")


@router.get("/readyz")
async def is_ready(state: AppState) -> JSONResponse:
    """Database, broker and storage can be used; 503 with the names of those that cannot. Whoever asks is not asked who
    they are, so however many they are, all is tried once a second.
    """
    parts = await state.readiness.get(partial(parts_of, state))
    ready = all(value == "ok" for value in parts.values())
    return JSONResponse({"ready": ready, **parts}, 200 if ready else 503)


@router.get("/metrics")
def show_metrics(state: AppState) -> Response:
    """Prometheus' text format: requests of this process, and jobs and workers as the database has them. While that is
    away, which is when they are looked at most, requests alone.
    """
    try:
        with state.readers() as session:
            kept = generate_latest(figures_of(session))
    except SQLAlchemyError:
        kept = b""
    return Response(generate_latest(REGISTRY) + kept, media_type=CONTENT_TYPE_LATEST)
