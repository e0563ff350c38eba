"""Pages: jobs as they come and go, and one learning stage by stage."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import select

from app.accounts.models import User
from app.calls import Call, json_call, learning_call
from app.deps import AppState, CurrentUser, Reading, StartingUser, Uow
from app.forgettings.service import forgetting_of
from app.forms import Typed, TypedForm
from app.generations.reading import generation_of
from app.jobs import service
from app.jobs.models import OPEN, JobKind, WorkerRow
from app.jobs.views import Learning, Listed, learning_of, list_view
from app.jobs.workers import list_workers
from app.paging import make_cursor, number_after, paging
from app.routing import page_router
from app.templating import address, address_of_site, is_fragment, render

router = page_router()

ON_A_PAGE = 30


@router.get("/jobs")
def show_jobs(
    request: Request,
    caller: CurrentUser,
    session: Reading,
    everybody: bool = False,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
    seen: Annotated[str, Query(max_length=64, description="What the page shows already.")] = "",
) -> Response:
    """The caller's jobs, or an administrator's view of all. As a fragment: the list, or nothing when it is the same."""
    all_of_them = everybody and caller.is_admin
    page = paging(ON_A_PAGE, cursor)
    rows = service.list_jobs(session, None if all_of_them else caller.id, page.limit + 1, number_after(page))
    more = None
    if len(rows) > page.limit:
        rows = rows[: page.limit]
        more = address("/jobs", everybody="true" if all_of_them else None, cursor=make_cursor(str(rows[-1].sequence)))
    owners = {}
    if all_of_them:
        named = select(User.id, User.name).where(User.id.in_({row.owner_id for row in rows}))
        owners = dict(session.execute(named).all())
    listed = list_view(session, rows, caller.id, owners)
    workers = list_workers(session) if caller.is_admin else []
    digest = _digest_of(listed, workers)
    if is_fragment(request) and seen == digest:
        return Response(status_code=204)
    return render(
        request,
        "jobs/list.html" if is_fragment(request) else "jobs/page.html",
        caller,
        place="jobs",
        listed=listed,
        is_any_open=any(one.job.state in OPEN for one in listed),
        workers=workers,
        everybody=all_of_them,
        cursor=cursor,
        more=more,
        digest=digest,
        call=json_call(
            "List these jobs",
            address_of_site(request),
            "GET",
            address("/jobs", everybody="true" if all_of_them else None),
        ),
    )


def _digest_of(listed: Sequence[Listed], workers: Sequence[WorkerRow]) -> str:
    """Of all that changes by itself in the list."""
    jobs = [(one.job.id, one.job.state, one.job.stage, one.job.step, one.job.cancel_requested) for one in listed]
    state = (jobs, [one.place for one in listed], [(worker.id, worker.holds) for worker in workers])
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


@router.get("/jobs/{job_id}")
def show_job(request: Request, job_id: UUID, caller: CurrentUser, session: Reading) -> Response:
    """A learning as it is now; pictures are shown in their studio, as a fragment their card alone, and forgettings on
    pages of their own.
    """
    job = service.get_job(session, caller.id, job_id)
    if job.kind == JobKind.GENERATE:
        made = generation_of(session, job.id)
        if is_fragment(request):
            return RedirectResponse(f"/generations/{made.id}/card", 303)
        return RedirectResponse(f"/histories/{job.history_id}?before={job.sequence + 1}#generation-{made.id}", 303)
    if job.kind == JobKind.FORGET:
        return RedirectResponse(f"/forgettings/{forgetting_of(session, job.id).id}", 303)
    shown = learning_of(session, job)
    site = address_of_site(request)
    return render(
        request,
        "jobs/learning.html" if is_fragment(request) else "jobs/learning_page.html",
        caller,
        place="teach",
        shown=shown,
        teach_call=_call_of(site, shown),
        look_call=json_call("Look at this learning", site, "GET", f"/jobs/{job.id}"),
    )


def _call_of(site: str, shown: Learning) -> Call:
    fields = {"name": shown.concept.name, "class_noun": shown.concept.class_noun}
    if shown.settings:
        fields["settings"] = json.dumps(shown.settings)
    if any(picture.caption for picture in shown.pictures):
        fields["captions"] = json.dumps([picture.caption or "" for picture in shown.pictures], ensure_ascii=False)
    files = [picture.file_name for picture in shown.pictures]
    return learning_call(site, f"/histories/{shown.history.id}/concepts", fields, files)


@router.post("/jobs/{job_id}/cancel")
def cancel(request: Request, job_id: UUID, caller: CurrentUser, uow: Uow, form: TypedForm) -> RedirectResponse:
    service.cancel(uow, caller.id, job_id)
    return _back(request, job_id, form)


@router.post("/jobs/{job_id}/retry")
def retry(
    request: Request, job_id: UUID, caller: StartingUser, uow: Uow, state: AppState, form: TypedForm
) -> RedirectResponse:
    service.retry(uow, state.settings, caller.id, job_id)
    return _back(request, job_id, form)


def _back(request: Request, job_id: UUID, form: Typed) -> RedirectResponse:
    """To the page that the form stood on; as a fragment, to the job as it is now."""
    its_own = f"/jobs/{job_id}"
    return RedirectResponse(its_own if is_fragment(request) else form.back(its_own), 303)
