"""Pages: the first run, logging in and out, one's account."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from app.accounts import service
from app.accounts.browsers import browser_called
from app.accounts.known_browsers import KNOWN_COOKIE, KNOWN_FOR_S, cookie_for, number_of
from app.accounts.models import User
from app.accounts.usage import usage_of
from app.deps import (
    FORM_COOKIE,
    SESSION_COOKIE,
    AppState,
    Caller,
    CurrentUser,
    MaybeCaller,
    Reading,
    Uow,
    check_csrf,
    give_back,
    sent_csrf_token,
)
from app.errors import Forbidden, NotFound, Unauthorized
from app.forms import AnswerableError, TypedForm, errors_of
from app.limiting import spend
from app.problems import LONGEST_WAY_BACK
from app.routing import page_router
from app.security import digest_of, new_token
from app.state import State
from app.templating import address_of_site, render

router = page_router()

FORM_LASTS_S = 3600
DAY_S = 86_400
OF_ALL_TOGETHER = 10  # times what one address may guess at one name, so that one or a few of them keep nobody out


SentToken = Annotated[str, Depends(sent_csrf_token)]


def _check_form(request: Request, csrf_token: str) -> None:
    """Who is not logged in has no session to hold a form's token, so a cookie of its own holds it. Forbidden when the
    cookie has run out meanwhile, as when a page was left open: the form is then shown anew.
    """
    try:
        check_csrf(request.cookies.get(FORM_COOKIE, ""), csrf_token)
    except Forbidden:
        raise Forbidden("This page was open for too long, so nothing was done. Send the form once more.") from None


def _form_page(request: Request, state: State, template: str, *, status: int = 200, **about: object) -> Response:
    """A form for somebody who is not logged in, and the cookie that belongs to it."""
    token = request.cookies.get(FORM_COOKIE) or new_token()
    page = render(request, template, None, status=status, form_token=token, **about)
    _set_cookie(page, state, FORM_COOKIE, token, FORM_LASTS_S)
    return page


def _set_cookie(response: Response, state: State, name: str, value: str, max_age_s: int) -> None:
    response.set_cookie(
        name, value, max_age=max_age_s, httponly=True, samesite="lax", secure=state.settings.behind_tls, path="/"
    )


def _let_in(state: State, user: User, token: str, to: str) -> Response:
    response = RedirectResponse(to, 303)
    _set_cookie(response, state, KNOWN_COOKIE, cookie_for(user), KNOWN_FOR_S)
    _set_cookie(response, state, SESSION_COOKIE, token, state.settings.session_days * DAY_S)
    response.delete_cookie(FORM_COOKIE, path="/")
    return response


def _safe(next_: str) -> str:
    """An address on this site, whatever was handed in."""
    return next_ if next_.startswith("/") and not next_.startswith(("//", "/\\")) else "/"


# --- first run, in and out -----------------------------------------------------------------------------------------


@router.get("/first-run")
def show_first_run(
    request: Request, state: AppState, session: Reading, token: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """The page behind the one-time link."""
    if not service.setup_is_open(session, token):
        raise NotFound("This link has been used, or a newer one was printed when the server started.")
    return _form_page(request, state, "accounts/first_run.html", token=token, name="", errors={})


@router.post("/first-run")
def make_first_user(request: Request, state: AppState, uow: Uow, form: TypedForm, csrf_token: SentToken) -> Response:
    """Make the administrator and let them in."""
    token, name, password = form.text("token"), form.text("name"), form.values.get("password", "")
    try:
        _check_form(request, csrf_token)
        spend(state, state.settings.login_rate, "first-run", _address(request))
        service.set_up(uow, token, name, password)
    except (Forbidden, *AnswerableError) as error:
        return _form_page(
            request,
            state,
            "accounts/first_run.html",
            status=error.status,
            token=token,
            name=name,
            errors=errors_of(error),
        )
    user, session_token = _log_in(request, state, name, password)
    return _let_in(state, user, session_token, "/")


@router.get("/login")
def show_login(
    request: Request,
    state: AppState,
    session: Reading,
    caller: MaybeCaller,
    next: Annotated[str, Query(max_length=LONGEST_WAY_BACK)] = "/",  # noqa: A002
) -> Response:
    if caller is not None:
        return RedirectResponse(_safe(next), 303)
    return _login_page(request, state, session, next=_safe(next), name="", errors={})


@router.post("/login")
def log_in(request: Request, state: AppState, session: Reading, form: TypedForm, csrf_token: SentToken) -> Response:
    """Let somebody in; a wrong name or password is answered in the form, in the same words."""
    name, next_ = form.text("name"), _safe(form.text("next"))
    try:
        _check_form(request, csrf_token)
        _spend_attempt(request, state, session, name)
        user, token = _log_in(request, state, name, form.values.get("password", ""))
    except (Unauthorized, Forbidden, *AnswerableError) as error:
        return _login_page(
            request, state, session, status=error.status, next=next_, name=name, errors={"": error.message}
        )
    return _let_in(state, user, token, next_)


def _spend_attempt(request: Request, state: State, session: Session, name: str) -> None:
    """Before the password is looked at, so that many at once are no more. By name as well: whoever has many addresses
    has still only so many guesses. Where that name has logged in before, strangers who guess at it are not counted in.
    """
    rate = state.settings.login_rate
    browser = number_of(session, name, request.cookies.get(KNOWN_COOKIE, ""))
    give_back(session)
    if browser is not None:
        spend(state, rate, "login-browser", digest_of(browser))
        return
    spend(state, rate, "login", _address(request))
    spend(state, rate, "login-name", digest_of(name.lower()), times=OF_ALL_TOGETHER)


def _login_page(request: Request, state: State, session: Session, **about: Any) -> Response:
    waits = service.waits_for_first(session)
    return _form_page(request, state, "accounts/login.html", waits=waits, **about)


def _log_in(request: Request, state: State, name: str, password: str) -> tuple[User, str]:
    return service.log_in(
        state.unit_of_work(),
        name,
        password,
        days=state.settings.session_days,
        user_agent=request.headers.get("user-agent", ""),
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


@router.post("/logout")
def log_out(caller: CurrentUser, uow: Uow) -> Response:
    if caller.session_id is not None:
        service.log_out(uow, caller.session_id)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


# --- one's account -------------------------------------------------------------------------------------------------


@router.get("/account")
def show_account(request: Request, state: AppState, caller: CurrentUser, session: Reading, done: str = "") -> Response:
    """What is kept, keys, password, sessions."""
    said = {"password": "Your password is changed. Every other browser is logged out."}.get(done, "")
    return _account(request, state, caller, session, said=said)


def _account(
    request: Request,
    state: State,
    caller: Caller,
    session: Session,
    *,
    status: int = 200,
    errors: dict[str, str] | None = None,
    new_key: str = "",
    key_name: str = "",
    said: str = "",
) -> Response:
    return render(
        request,
        "accounts/account.html",
        caller,
        status=status,
        place="account",
        site=address_of_site(request),
        usage=usage_of(session, caller.id, state.settings.user_quota_bytes),
        keys=service.list_api_keys(session, caller.id),
        sessions=service.list_sessions(session, caller.id),
        called=browser_called,
        errors=errors or {},
        new_key=new_key,
        key_name=key_name,
        said=said,
    )


@router.post("/account/password")
def change_password(
    request: Request, state: AppState, caller: CurrentUser, session: Reading, uow: Uow, form: TypedForm
) -> Response:
    old, new = form.values.get("old_password", ""), form.values.get("password", "")
    try:
        spend(state, state.settings.login_rate, "password", str(caller.id))
        service.change_password(uow, caller.id, old, new, caller.session_id)
    except AnswerableError as error:
        return _account(request, state, caller, session, status=error.status, errors=errors_of(error))
    return RedirectResponse("/account?done=password", 303)


@router.post("/account/keys")
def make_key(
    request: Request, state: AppState, caller: CurrentUser, session: Reading, uow: Uow, form: TypedForm
) -> Response:
    """The answer shows the key, once: nothing to go back to, nothing to load again."""
    try:
        _, key = service.make_api_key(uow, caller.id, form.text("name"))
    except AnswerableError as error:
        name, errors = form.text("name"), errors_of(error)
        return _account(request, state, caller, session, status=error.status, errors=errors, key_name=name)
    return _account(request, state, caller, session, new_key=key)


@router.post("/account/keys/{key_id}/revoke")
def revoke_key(key_id: UUID, caller: CurrentUser, uow: Uow) -> Response:
    service.revoke_api_key(uow, caller.id, key_id)
    return RedirectResponse("/account", 303)


@router.post("/account/sessions/{session_id}/revoke")
def revoke_session(session_id: UUID, caller: CurrentUser, uow: Uow) -> Response:
    service.revoke_session(uow, caller.id, session_id)
    return RedirectResponse("/account", 303)
