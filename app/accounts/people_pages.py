"""Pages for administrators: the people, and how the server is."""

from collections.abc import Mapping
from uuid import UUID

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from app.accounts import service
from app.accounts.usage import bytes_of_everybody
from app.config import MEGABYTE
from app.deps import AdminUser, AppState, Caller, Reading, Uow
from app.errors import AppError, NotFound
from app.forms import AnswerableError, TypedForm, errors_of
from app.routing import page_router
from app.standing import standing_of
from app.state import State
from app.templating import render

router = page_router()

GIGABYTE = 1000 * MEGABYTE


@router.get("/users")
def show_users(request: Request, state: AppState, caller: AdminUser, session: Reading) -> Response:
    return _users(request, state, caller, session)


def _users(
    request: Request,
    state: State,
    caller: Caller,
    session: Session,
    *,
    typed: Mapping[str, str] | None = None,
    error: AppError | None = None,
    wrong_about: UUID | None = None,
) -> Response:
    """typed: what stood in a form that was refused. wrong_about: the user who was to be changed; None for a new one."""
    return render(
        request,
        "accounts/users.html",
        caller,
        status=error.status if error else 200,
        place="users",
        users=service.list_users(session),
        kept=bytes_of_everybody(session),
        default_quota_bytes=state.settings.user_quota_bytes,
        gigabyte=GIGABYTE,
        typed=typed or {},
        errors=errors_of(error) if error and wrong_about is None else {},
        wrong_about=wrong_about,
        wrong=error.message if error and wrong_about else "",
    )


@router.post("/users")
def create_user(
    request: Request, state: AppState, caller: AdminUser, session: Reading, uow: Uow, form: TypedForm
) -> Response:
    try:
        service.create_user(uow, form.text("name"), form.values.get("password", ""), is_admin=form.ticked("is_admin"))
    except AnswerableError as error:
        return _users(request, state, caller, session, typed=form.values, error=error)
    return RedirectResponse("/users", 303)


@router.post("/users/{user_id}/{change}")
def change_user(
    request: Request,
    user_id: UUID,
    change: str,
    state: AppState,
    caller: AdminUser,
    session: Reading,
    uow: Uow,
    form: TypedForm,
) -> Response:
    """lock, unlock, quota (in gigabytes; empty for everybody's), password."""
    try:
        match change:
            case "lock" | "unlock":
                service.change_user(uow, caller.id, user_id, disabled=change == "lock")
            case "password":
                service.change_user(uow, caller.id, user_id, password=form.values.get("password", ""))
            case "quota":
                size = form.decimal("gigabytes", "The quota")
                quota = None if size is None else round(size * GIGABYTE)
                service.change_user(uow, caller.id, user_id, quota_bytes=quota)
            case _:
                raise NotFound("There is nothing at this address.")
    except AnswerableError as error:
        return _users(request, state, caller, session, typed=form.values, error=error, wrong_about=user_id)
    return RedirectResponse("/users", 303)


@router.get("/server")
def show_server(request: Request, state: AppState, caller: AdminUser) -> Response:
    """Whether everything is there: parts, workers, base models, work, room on the disk."""
    return render(request, "accounts/server.html", caller, place="server", standing=standing_of(state))
