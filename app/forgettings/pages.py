"""Pages: what forgetting a concept means, with the choice; then how it goes, and the proof of an erasure."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from app.calls import json_call
from app.deps import AppState, Caller, CurrentUser, Reading, Uow, check_may_start
from app.errors import AppError, NotFound
from app.forgettings import service
from app.forgettings.models import Mode
from app.forgettings.views import choice_of, show
from app.forms import AnswerableError, TypedForm, errors_of, new_once
from app.histories.models import History
from app.histories.service import get_history
from app.routing import page_router
from app.templating import address_of_site, is_fragment, render

router = page_router()


@router.get("/histories/{history_id}/forget")
def ask(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    concept: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """What would be forgotten, and how."""
    return _ask(request, caller, session, get_history(session, caller.id, history_id), concept, {})


def _ask(
    request: Request,
    caller: Caller,
    session: Session,
    history: History,
    concept: str,
    values: Mapping[str, str],
    error: AppError | None = None,
) -> Response:
    choice = choice_of(session, history, concept)
    if choice is None:
        raise NotFound(f"The version in use does not know <{concept}>, so it has nothing to forget.")
    site, path = address_of_site(request), f"/histories/{history.id}/forgettings"
    return render(
        request,
        "forget/choice.html",
        caller,
        status=error.status if error else 200,
        place="timeline",
        history=history,
        choice=choice,
        call=json_call("Forget it", site, "POST", path, {"concept": concept, "mode": "fast", "erase": False}),
        once=new_once(),
        values=values,
        errors=errors_of(error) if error else {},
    )


@router.post("/histories/{history_id}/forget")
def forget(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    uow: Uow,
    state: AppState,
    form: TypedForm,
) -> Response:
    """Start it. Erasing is asked for by a box of its own."""
    history = get_history(session, caller.id, history_id)
    concept = form.text("concept")
    try:
        check_may_start(state, caller, session)
        made = service.start_forgetting(
            uow,
            state.settings,
            caller.id,
            history_id,
            concept=concept,
            mode=Mode.EXACT if form.text("mode") == Mode.EXACT else Mode.FAST,
            erase=form.ticked("erase"),
            once=form.once(caller.id, "forget", history_id),
        )
    except AnswerableError as error:
        return _ask(request, caller, session, history, concept, form.values, error)
    return RedirectResponse(f"/forgettings/{made.id}", 303)


@router.get("/forgettings/{forgetting_id}")
def show_forgetting(request: Request, forgetting_id: UUID, caller: CurrentUser, session: Reading) -> Response:
    """How it goes, and what is proved."""
    shown = show(session, service.get_forgetting(session, caller.id, forgetting_id))
    look = json_call("Look at this forgetting", address_of_site(request), "GET", f"/forgettings/{forgetting_id}")
    return render(
        request,
        "forget/forgetting.html" if is_fragment(request) else "forget/page.html",
        caller,
        place="timeline",
        shown=shown,
        look_call=look,
    )
