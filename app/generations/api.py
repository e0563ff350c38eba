"""REST: ask for pictures, and see what came of it."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import Header, Request, Response
from starlette.concurrency import run_in_threadpool

from app.deps import AppState, CurrentUser, Reading, StartingOnce
from app.generations import reading, service
from app.generations.regions import Region
from app.generations.schemas import Generations, GenerationShown, NewGeneration, show_generations
from app.histories.service import get_history
from app.idempotency import make_once
from app.jobs.api import IdempotencyKeyHeader
from app.jobs.long_waits import MOST_WAITING, place_to_wait, wait_for
from app.jobs.models import OPEN
from app.paging import Page, number_after, split_page
from app.problems import described
from app.routing import rest_router
from app.state import State

router = rest_router("generations")

LONGEST_WAIT_S = 60


def seconds_to_wait(prefer: str | None) -> float:
    """`Prefer: wait=30` (RFC 7240) -> 30, a minute at most; 0 without."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", prefer or "", re.IGNORECASE)
    return min(float(found[1]), LONGEST_WAIT_S) if found else 0.0


@router.post(
    "/histories/{history_id}/generations",
    status_code=202,
    summary="Ask for pictures",
    responses={
        200: {"model": GenerationShown, "description": "Finished within the time of `Prefer: wait`."},
        **described(403),
    },
)
async def ask(
    history_id: UUID,
    new: NewGeneration,
    caller: StartingOnce,
    state: AppState,
    request: Request,
    response: Response,
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=30`: answer when it is done, or after 30 s; at once where "
            f"{MOST_WAITING} of your requests wait already."
        ),
    ] = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> GenerationShown:
    """Ask for pictures; any number of concepts may stand in the prompt, or each in a region of its own."""
    once = make_once(caller.id, idempotency_key, "generate", history_id, new.model_dump())
    generation, job = await run_in_threadpool(
        service.ask,
        state.unit_of_work(),
        state.settings,
        caller.id,
        history_id,
        version_number=new.version,
        once=once,
        regions=[Region(**region.model_dump()) for region in new.regions],
        **new.model_dump(exclude={"version", "regions"}),
    )
    if seconds := seconds_to_wait(prefer):
        async with place_to_wait(caller.id, request) as has_place:
            if has_place:
                response.headers["Preference-Applied"] = f"wait={seconds:.0f}"
                await wait_for(state, request, job.id, seconds)
    shown = await run_in_threadpool(_look, state, caller.id, generation.id)
    response.headers["Location"] = f"/api/v1/generations/{generation.id}"
    if shown.job.state not in OPEN:
        response.status_code = 200
    return shown


def _look(state: State, owner_id: UUID, generation_id: UUID) -> GenerationShown:
    with state.readers() as session:
        return show_generations(session, [reading.get_waited_for(session, owner_id, generation_id)])[0]


@router.get("/histories/{history_id}/generations")
def list_generations(history_id: UUID, caller: CurrentUser, session: Reading, page: Page) -> Generations:
    """What was asked for in this history, the latest first."""
    history = get_history(session, caller.id, history_id)
    rows = reading.list_generations(session, history.id, page.limit + 1, number_after(page))
    rows, cursor = split_page(rows, page.limit, lambda row: row[1].sequence)
    return Generations(items=show_generations(session, rows), next=cursor)


@router.get("/generations/{generation_id}")
def get_generation(generation_id: UUID, caller: CurrentUser, session: Reading) -> GenerationShown:
    """One request and its pictures so far."""
    return show_generations(session, [reading.get_generation(session, caller.id, generation_id)])[0]
