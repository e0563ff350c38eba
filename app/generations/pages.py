"""Pages: the studio, where pictures are asked for and appear."""

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from app.calls import Call, json_call
from app.config import Settings
from app.db import UnitOfWork
from app.deps import AppState, Caller, CurrentUser, Reading, Uow, check_may_start, state_of
from app.errors import AppError, NotFound
from app.forms import AnswerableError, Typed, TypedForm, errors_of, new_once
from app.generations import reading, service, studio
from app.generations.models import Generation
from app.generations.regions import gathered, in_order, typed_regions
from app.histories.models import History
from app.histories.service import get_history_with_base
from app.jobs.models import Job
from app.routing import page_router
from app.templating import address_of_site, is_fragment, render

router = page_router()


@router.get("/histories/{history_id}")
def show_studio(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    image: Annotated[UUID | None, Query(alias="from", description="Use all settings of this picture.")] = None,
    version: Annotated[int | None, Query(ge=0)] = None,
    prompt: Annotated[str, Query(max_length=service.LONGEST_PROMPT)] = "",
    before: Annotated[int | None, Query(description="Requests asked for before this one.")] = None,
) -> Response:
    """The studio; as a fragment, the next of what was asked for."""
    history = get_history_with_base(session, caller.id, history_id)
    if before is not None and is_fragment(request):
        asked, more = studio.lately_asked(session, history, before)
        desk = studio.desk_of(session, history)
        return render(request, "studio/more.html", caller, desk=desk, asked=asked, more=more, **_calls(request))
    values: dict[str, object] = {"prompt": prompt, "version": version}
    errors: dict[str, str] = {}
    if image is not None:
        try:
            found, made, number = reading.get_image_asked(session, caller.id, image)
        except NotFound:  # the page that is open may have just deleted it
            errors = {"": "That picture is gone, so its settings could not be filled in."}
        else:
            own = number if made.history_id == history.id else None
            values = studio.values_of(made, version=own if version is None else version, seed=found.seed)
    return _studio(request, caller, session, history, values, errors, before=before)


@router.post("/histories/{history_id}/generations")
def ask(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    uow: Uow,
    state: AppState,
    form: TypedForm,
) -> Response:
    """Ask for pictures: the card that shows them on their way, or the form again with what is to be changed."""
    form = replace(form, values=gathered(form.values))
    try:
        check_may_start(state, caller, session)
        generation, _ = _ask(uow, state.settings, caller, history_id, form)
    except AnswerableError as error:
        return _refuse(request, caller, session, history_id, form, error)
    if is_fragment(request):
        return show_card(request, generation.id, caller, session)
    return RedirectResponse(f"/histories/{history_id}#generation-{generation.id}", 303)


def _ask(uow: UnitOfWork, limits: Settings, caller: Caller, history_id: UUID, form: Typed) -> tuple[Generation, Job]:
    return service.ask(
        uow,
        limits,
        caller.id,
        history_id,
        prompt=form.text("prompt"),
        version_number=form.whole("version", "The version"),
        negative_prompt=form.text("negative_prompt"),
        seed=form.whole("seed", "The seed"),
        count=form.whole("count", "The number of pictures") or 1,
        steps=form.whole("steps", "The number of steps"),
        guidance=form.decimal("guidance", "Guidance"),
        sampler=form.text("sampler") or None,
        width_px=form.whole("width_px", "The width"),
        height_px=form.whole("height_px", "The height"),
        regions=typed_regions(form),
        apart=form.text("apart") != "no",
        once=form.once(caller.id, "generate", history_id),
    )


@router.get("/generations/{generation_id}/card")
def show_card(request: Request, generation_id: UUID, caller: CurrentUser, session: Reading) -> Response:
    """One request for pictures as it is now, to take the place of the card that showed it before."""
    row = reading.get_generation(session, caller.id, generation_id)
    asked = studio.look_at(session, row)
    history = get_history_with_base(session, caller.id, row[0].history_id)
    desk = studio.desk_of(session, history)
    return render(request, "studio/one.html", caller, desk=desk, asked=asked, **_calls(request))


def _studio(
    request: Request,
    caller: Caller,
    session: Session,
    history: History,
    values: dict[str, object],
    errors: dict[str, str] | None = None,
    status: int = 200,
    before: int | None = None,
) -> Response:
    desk = studio.desk_of(session, history, values)
    asked, more = studio.lately_asked(session, history, before)
    return render(
        request,
        "studio/page.html",
        caller,
        status=status,
        place="studio",
        desk=desk,
        asked=asked,
        more=more,
        is_first=before is None,
        before=before,
        errors=errors,
        once=new_once(),
        limits=state_of(request).settings,
        **_calls(request),
    )


def _refuse(
    request: Request, caller: Caller, session: Session, history_id: UUID, form: Typed, error: AppError
) -> Response:
    """The form with what was typed in it, and the sentence beside its field."""
    values: dict[str, object] = dict(form.values)
    history = get_history_with_base(session, caller.id, history_id)
    if not is_fragment(request):
        return _studio(request, caller, session, history, values, errors_of(error), error.status)
    desk = studio.desk_of(session, history, values)
    answer = render(
        request,
        "studio/form_alone.html",
        caller,
        status=error.status,
        desk=desk,
        errors=errors_of(error),
        once=new_once(),
        limits=state_of(request).settings,
    )
    answer.headers["HX-Retarget"], answer.headers["HX-Reswap"] = "#ask", "outerHTML"
    return answer


def _calls(request: Request) -> dict[str, Any]:
    """For templates. calls: a request for pictures -> the call that asks for the same ones, of this `site`."""
    site = address_of_site(request)

    def call_of(asked: studio.Asked) -> Call:
        made = asked.generation
        body: dict[str, object] = {"prompt": made.prompt}
        if made.negative_prompt:
            body["negative_prompt"] = made.negative_prompt
        if made.regions:
            body["regions"] = in_order(made.regions)
        if not made.apart:
            body["apart"] = False
        body |= {"version": asked.version, "seed": made.seed, "count": made.count, "steps": made.steps}
        body |= {"guidance": made.guidance, "sampler": made.sampler}
        body |= {"width_px": made.width_px, "height_px": made.height_px}
        path = f"/histories/{made.history_id}/generations"
        return json_call("Make the same pictures", site, "POST", path, body)

    return {"site": site, "calls": call_of}
