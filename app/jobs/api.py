"""REST: jobs and their events."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from app.deps import AppState, CurrentUser, Reading, StartingOnce, Uow, caller_by, give_back
from app.errors import NotFound
from app.files import IfNoneMatch, blob_response
from app.idempotency import make_once
from app.jobs import service
from app.jobs.models import JobKind, JobState
from app.jobs.schemas import JobShown, show_job, show_jobs
from app.jobs.stream import follow, place_of
from app.paging import Page, number_after, split_page
from app.problems import described
from app.routing import rest_router

router = rest_router("jobs")

SAMPLES_EXAMPLE: dict[str, Any] = {
    "items": [
        {"step": step, "url": f"/api/v1/jobs/b9f1c1de-21b5-4f6f-9a3c-0e6f1f6a7c55/samples/{step}"} for step in (0, 50)
    ]
}
EVENTS_EXAMPLE = """id: 41
event: state
data: {"state": "running", "attempt": 1, "at": "2026-11-23T10:00:01+00:00"}

id: 42
event: progress
data: {"stage": "learning", "step": 1, "steps_total": 200, "seconds_left": 29.8, "at": "2026-11-23T10:00:02+00:00"}

id: 43
event: captions
data: {"captions": ["a photo of a <rex> dog on the beach"], "at": "2026-11-23T10:00:02+00:00"}

event: progress
data: {"stage": "learning", "step": 9, "steps_total": 200, "loss": 0.081, "seconds_left": 28.1}

id: 44
event: sample
data: {"step": 50, "sha256": "5f1f...", "at": "2026-11-23T10:00:09+00:00"}

id: 61
event: state
data: {"state": "done", "error": null, "version": 2, "is_head": true, "held_back": [], "at": "2026-11-23T10:00:31+00:00"}
"""  # noqa: E501 - as it is sent

SEVERAL_EXAMPLE = """id: 41.0
event: state
data: {"state": "running", "attempt": 1, "at": "2026-11-23T10:00:01+00:00", "job_id": "b9f1c1de-21b5-4f6f-9a3c-0e6f1f6a7c55"}

id: 41.42
event: state
data: {"state": "done", "error": null, "at": "2026-11-23T10:00:02+00:00", "job_id": "5f0c9a57-5b0e-4a86-8d8c-2a55a6a1b1f0"}
"""  # noqa: E501 - as it is sent
MOST_FOLLOWED = 20
LONGEST_POSITION = 20 * MOST_FOLLOWED

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Send the same key again within a day, and nothing is started twice.",
        max_length=200,
    ),
]


class Jobs(BaseModel):
    items: list[JobShown]
    next: str | None


class SampleShown(BaseModel):
    """A picture of a learning on its way. step: 0 is before learning. url: where the PNG is."""

    step: int
    url: str


class Samples(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": SAMPLES_EXAMPLE})
    items: list[SampleShown]


@router.get("/jobs")
def list_jobs(
    caller: CurrentUser,
    session: Reading,
    page: Page,
    state: JobState | None = None,
    kind: JobKind | None = None,
    history_id: UUID | None = None,
    everybody: Annotated[
        bool, Query(description="All users' jobs, others' without what they are about; for administrators.")
    ] = False,
) -> Jobs:
    """The latest first."""
    whose = None if everybody and caller.is_admin else caller.id
    rows = service.list_jobs(
        session, whose, page.limit + 1, number_after(page), state=state, kind=kind, history_id=history_id
    )
    rows, cursor = split_page(rows, page.limit, lambda row: row.sequence)
    return Jobs(items=show_jobs(session, rows, caller.id), next=cursor)


@router.get("/jobs/{job_id}")
def get_job(job_id: UUID, caller: CurrentUser, session: Reading) -> JobShown:
    """One job as it is now."""
    return show_job(session, service.get_job(session, caller.id, job_id))


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job", responses=described(409))
def cancel(job_id: UUID, caller: CurrentUser, uow: Uow, session: Reading) -> JobShown:
    """End it: at once when it waits, at its next step when it runs."""
    return show_job(session, service.cancel(uow, caller.id, job_id))


@router.post("/jobs/{job_id}/retry", status_code=202, summary="Try a job again", responses=described(403, 409))
def retry(
    job_id: UUID,
    caller: StartingOnce,
    uow: Uow,
    session: Reading,
    state: AppState,
    idempotency_key: IdempotencyKeyHeader = None,
) -> JobShown:
    """Queue a failed or cancelled job again. A learning goes on from its last checkpoint, where one was kept for a day
    and the head is still where it began; else it begins anew, on what is then the head.
    """
    once = make_once(caller.id, idempotency_key, "retry", job_id)
    return show_job(session, service.retry(uow, state.settings, caller.id, job_id, once))


@router.get("/jobs/{job_id}/samples")
def list_samples(job_id: UUID, caller: CurrentUser, session: Reading) -> Samples:
    """Pictures of a learning from the same prompt and seed, from before to after."""
    job = service.get_job(session, caller.id, job_id)
    return Samples(
        items=[
            SampleShown(step=row.step, url=f"/api/v1/jobs/{job.id}/samples/{row.step}")
            for row in service.samples_of(session, job.id)
        ]
    )


@router.get("/jobs/{job_id}/samples/{step}", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def get_sample(
    job_id: UUID,
    step: int,
    caller: CurrentUser,
    session: Reading,
    state: AppState,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One of them."""
    job = service.get_job(session, caller.id, job_id)
    for row in service.samples_of(session, job.id):
        if row.step == step:
            answer = blob_response(state, row.blob_sha256, "image/png", if_none_match)
            # The step of a learning that is tried again may come to show another picture.
            answer.headers["Cache-Control"] = "private, no-cache"
            return answer
    raise NotFound(f"There is no sample of step {step}.")


def _own_job(job_id: UUID, caller: CurrentUser, session: Reading) -> UUID:
    """Asked before the stream begins: once it has, no status can be answered any more. The session is open as long as
    the stream, its connection is given back.
    """
    found = service.get_job(session, caller.id, job_id).id
    give_back(session)
    return found


async def _following(request: Request, caller: CurrentUser) -> AsyncIterator[Callable[[Session], bool]]:
    """Whether whoever opened a stream may still follow it, with their place among the streams of their user."""
    with place_of(caller.id):
        yield lambda session: caller_by(request, session) is not None


MayFollow = Annotated[Callable[[Session], bool], Depends(_following)]


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"example": EVENTS_EXAMPLE}}}},
)
async def stream_events(
    job_id: Annotated[UUID, Depends(_own_job, scope="function")],
    may_follow: MayFollow,
    state: AppState,
    after: Annotated[int, Query(ge=0, description="As `Last-Event-ID`, for who cannot send it.")] = 0,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=20, description="The last id that came.")
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """What happens to it, as server-sent events, until it has ended.

    `state`, `progress`, `captions` and `sample` are kept: they have ids, and a stream that was broken off goes on after
    `Last-Event-ID`. `progress` without an id and `preview` are fleeting. The last `state` of a learning says which
    version it made, whether that is head, and why it was held back if it did damage.
    """
    if last_event_id and last_event_id.isdecimal():  # a stream that was broken off knows better than its address
        after = int(last_event_id)
    async for event in follow(state, {job_id: after}, may_follow):
        if event is None:
            yield ServerSentEvent(comment="still here")
        else:
            event_id = str(event.id) if event.id is not None else None
            yield ServerSentEvent(event=event.kind, data=event.data, id=event_id)


def _own_jobs(
    caller: CurrentUser,
    session: Reading,
    job: Annotated[list[UUID], Query(min_length=1, max_length=MOST_FOLLOWED, description="Their ids.")],
) -> list[UUID]:
    found = [service.get_job(session, caller.id, job_id).id for job_id in dict.fromkeys(job)]
    give_back(session)
    return found


@router.get(
    "/events",
    summary="Follow several jobs",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"example": SEVERAL_EXAMPLE}}}},
)
async def stream_several(
    jobs: Annotated[list[UUID], Depends(_own_jobs, scope="function")],
    may_follow: MayFollow,
    state: AppState,
    after: Annotated[str, Query(max_length=LONGEST_POSITION, description="As `Last-Event-ID`.")] = "",
    last_event_id: Annotated[
        str, Header(alias="Last-Event-ID", max_length=LONGEST_POSITION, description="The last id that came.")
    ] = "",
) -> AsyncIterator[ServerSentEvent]:
    """What happens to several jobs, in one stream, until all have ended. A browser opens only six at a time.

    Each event is as in the stream of one job, and says its `job_id`. An id is the newest event of each job, in the
    order they were asked for: `41.57`.
    """
    told = dict(zip(jobs, _read_position(last_event_id or after, len(jobs)), strict=True))
    async for event in follow(state, told, may_follow):
        if event is None:
            yield ServerSentEvent(comment="still here")
            continue
        if event.id is not None:
            told[event.job_id] = event.id
        position = ".".join(map(str, told.values())) if event.id is not None else None
        yield ServerSentEvent(event=event.kind, data={**event.data, "job_id": str(event.job_id)}, id=position)


def _read_position(text: str, count: int) -> list[int]:
    """The newest event of each job; from the beginning where it is none of ours."""
    parts = text.split(".")
    return [int(part) for part in parts] if len(parts) == count and all(map(str.isdecimal, parts)) else [0] * count
