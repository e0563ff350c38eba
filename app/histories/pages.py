"""Pages: the first one, all histories, and what can be done to a whole history."""

from uuid import UUID

from fastapi import BackgroundTasks, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from app.calls import json_call
from app.concepts import service as concepts
from app.concepts.sample_concepts import read_sample, sample_concept, sample_concepts
from app.db import UnitOfWork
from app.deps import AppState, Caller, CurrentUser, Reading, Uow, check_may_start, give_back
from app.forms import AnswerableError, Typed, TypedForm, errors_of
from app.generations.reading import latest_images
from app.generations.studio import first_pictures, known_of
from app.histories import service, versions
from app.jobs.workers import list_workers
from app.routing import page_router
from app.shelf import shelf_of
from app.state import State
from app.sweeping import sweep_all
from app.templating import address_of_site, render
from app.turns import decodes_pictures

router = page_router()

LATEST_SHOWN = 4


@router.get("/")
def show_first(request: Request, caller: CurrentUser, session: Reading) -> Response:
    """The studio of the history used last; for somebody new, how to begin."""
    current = shelf_of(session, caller.id).current
    if current is not None:
        return RedirectResponse(f"/histories/{current.id}", 303)
    return _welcome(request, caller, session)


def _welcome(
    request: Request,
    caller: Caller,
    session: Session,
    values: object = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    bases = service.base_models(session)
    samples = [one for base in bases[:1] for one in sample_concepts(base.facts.get("name", ""))]
    return render(
        request,
        "histories/welcome.html",
        caller,
        status=status,
        bases=bases,
        workers=list_workers(session),
        samples=samples,
        values=values or {},
        errors=errors or {},
    )


@router.get("/histories")
def show_histories(request: Request, caller: CurrentUser, session: Reading) -> Response:
    return _shelf(request, caller, session)


def _shelf(
    request: Request,
    caller: Caller,
    session: Session,
    values: object = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    histories = service.list_histories(session, caller.id)
    steps = versions.steps_in(session, [history.id for history in histories])
    lines = {history.id: versions.line_to(steps[history.id], history.head_id) for history in histories}
    firsts = first_pictures(session, [step.concept.id for line in lines.values() for step in line])
    images = latest_images(session, caller.id, LATEST_SHOWN)
    shown = [
        {
            "history": history,
            "base": history.base,
            "known": known_of(lines[history.id], firsts),
            "head": lines[history.id][-1].version.number if lines[history.id] else 0,
            "versions": len(steps[history.id]),
            "images": images[history.id].count if history.id in images else 0,
            "latest": images[history.id].latest if history.id in images else (),
        }
        for history in histories
    ]
    return render(
        request,
        "histories/all.html",
        caller,
        status=status,
        shown=shown,
        call=json_call("Begin a history", address_of_site(request), "POST", "/histories", {"name": "pets"}),
        bases=service.base_models(session),
        values=values or {},
        errors=errors or {},
    )


@router.post("/histories")
@decodes_pictures(lambda values: bool(values["form"].text("sample")))
def create(
    request: Request, caller: CurrentUser, session: Reading, uow: Uow, state: AppState, form: TypedForm
) -> Response:
    """Begin a history; with a sample, its learning starts at once, or neither is begun."""
    try:
        to = _begin(uow, state, caller, session, form)
    except AnswerableError as error:
        shown = _shelf if shelf_of(session, caller.id).histories else _welcome
        return shown(request, caller, session, form.values, errors_of(error), error.status)
    return RedirectResponse(to, 303)


def _begin(uow: UnitOfWork, state: State, caller: Caller, session: Session, form: Typed) -> str:
    """The address of what was begun. Whatever can be known to keep a sample from being learned is, before anything is
    written.
    """
    name, base_id, sample = form.text("name"), form.text("base_id") or None, form.text("sample")
    if not sample:
        return f"/histories/{service.create_history(uow, caller.id, name, base_id).id}"
    check_may_start(state, caller, session)
    concepts.check_open_jobs(session, caller.id, state.settings)
    chosen = sample_concept(service.base_to_begin_on(session, base_id).facts["name"], sample)
    give_back(session)
    pictures = read_sample(chosen, state.settings)
    history = service.create_history(uow, caller.id, name, base_id)
    try:
        job = concepts.start_learning(
            uow,
            state.store,
            state.settings,
            caller.id,
            history.id,
            name=chosen.name,
            class_noun=chosen.class_noun,
            pictures=pictures,
        )
    except Exception:  # another job was started meanwhile, or the storage is away: nobody asked for an empty history
        service.delete_history(uow, caller.id, history.id)
        raise
    return f"/jobs/{job.id}"


@router.post("/histories/{history_id}/rename")
def rename(
    request: Request, history_id: UUID, caller: CurrentUser, session: Reading, uow: Uow, form: TypedForm
) -> Response:
    try:
        service.change_history(uow, caller.id, history_id, form.text("name"))
    except AnswerableError as error:
        typed = {f"rename-{history_id}": form.text("name")}
        return _shelf(request, caller, session, typed, {str(history_id): error.message}, error.status)
    return RedirectResponse("/histories", 303)


@router.post("/histories/{history_id}/delete")
def delete(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    uow: Uow,
    state: AppState,
    form: TypedForm,
    tasks: BackgroundTasks,
) -> Response:
    """Only when its name was typed: all that is in it goes, and nothing brings it back."""
    history = service.get_history(session, caller.id, history_id)
    if " ".join(form.text("name").split()) != history.name:
        said = {f"delete-{history_id}": f"To delete it, type its name exactly: {history.name}"}
        typed = {f"delete-{history_id}": form.text("name")}
        return _shelf(request, caller, session, typed, said, 422)
    service.delete_history(uow, caller.id, history_id)
    tasks.add_task(sweep_all, state)
    return RedirectResponse("/histories", 303)
