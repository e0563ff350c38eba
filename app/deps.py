"""What routes ask for: the caller, a session to read with, a unit of work to change with."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Connection
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.accounts.caller import Caller
from app.accounts.service import find_by_api_key, find_by_session
from app.accounts.usage import check_room
from app.db import UnitOfWork
from app.errors import Forbidden, Unauthorized
from app.idempotency import is_used
from app.limiting import spend
from app.security import same
from app.state import State

SESSION_COOKIE = "palimpsest_session"
FORM_COOKIE = "palimpsest_form"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def state_of(request: Request) -> State:
    state: State = request.app.state.palimpsest
    return state


async def app_state(request: Request) -> State:
    """Waits for nothing, and is `async` all the same: FastAPI sends whatever is not through a thread of its pool, and a
    request has enough of those turns to wait for.
    """
    return state_of(request)


AppState = Annotated[State, Depends(app_state)]


async def reading(request: Request) -> AsyncIterator[Session]:
    """A session that is only read with. Nobody commits it. To open and close it sends nothing and needs no thread."""
    with state_of(request).readers() as session:
        yield session


Reading = Annotated[Session, Depends(reading)]


def give_back(session: Session) -> None:
    """The connection of a session that is read with, before what takes long or waits its turn: there are fewer of them
    than threads. What was read stays readable, and whoever reads on gets a connection again.
    """
    session.commit()


@contextmanager
def session_of(request: Request) -> Iterator[Session]:
    """The session that this request reads with already, else one of its own: whoever waits for a second connection
    while they hold one may wait for each other.
    """
    if (session := getattr(request.state, "reading", None)) is not None:
        yield session
        return
    with state_of(request).readers() as session:
        yield session


async def unit_of_work(request: Request) -> UnitOfWork:
    """The service that gets it enters it and commits: nothing is written after the answer has left."""
    return state_of(request).unit_of_work()


Uow = Annotated[UnitOfWork, Depends(unit_of_work)]


async def sent_csrf_token(request: Request) -> str:
    """The token of the form or of the header, whichever the request has."""
    if token := request.headers.get("x-csrf-token"):
        return token
    kind = request.headers.get("content-type", "")
    if request.method not in SAFE_METHODS and kind.startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        value = (await request.form()).get("csrf_token")
        return value if isinstance(value, str) else ""
    return ""


def caller_by(request: Request, reads: Session | Connection) -> Caller | None:
    """The caller by API key or by session cookie; None when there is neither, or it is not valid any more."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if key and scheme.lower() == "bearer":
        return find_by_api_key(reads, key.strip())
    if token := request.cookies.get(SESSION_COOKIE):
        return find_by_session(reads, token)
    return None


def known_caller(request: Request, reads: Session | Connection) -> Caller:
    """The same, or Unauthorized."""
    found = caller_by(request, reads)
    if found is None:
        raise Unauthorized("Log in first, or send an API key as `Authorization: Bearer pk_...`.")
    return found


def caller_if_any(request: Request, state: AppState) -> Caller | None:
    """The caller, or None, for whoever reads nothing else."""
    with state.reading.connect() as connection:
        return caller_by(request, connection)


MaybeCaller = Annotated[Caller | None, Depends(caller_if_any)]


async def logged_in(request: Request) -> Caller:
    """A known caller, whose changes carry the token of their session's forms, and who does not ask too often."""
    return await run_in_threadpool(_let_in, request, await sent_csrf_token(request))


def _let_in(request: Request, csrf_token: str) -> Caller:
    with state_of(request).reading.connect() as connection:
        return let_in(request, connection, csrf_token)


def let_in(request: Request, reads: Session | Connection, csrf_token: str) -> Caller:
    """All in one turn through a thread."""
    state = state_of(request)
    found = known_caller(request, reads)
    if request.method not in SAFE_METHODS and found.session_id is not None:
        check_csrf(found.csrf_token or "", csrf_token)
    if found.session_id is None or request.method not in SAFE_METHODS:
        # What a browser reads is not counted: one page of pictures alone asks for a hundred.
        spend(state, state.settings.api_rate, "api", str(found.id))
    request.state.is_let_in = True
    return found


CurrentUser = Annotated[Caller, Depends(logged_in)]


def check_csrf(expected: str, sent: str) -> None:
    """Raise Forbidden unless the form came from a page of ours."""
    if not expected or not same(expected, sent):
        raise Forbidden("This form has expired. Load the page again and send it once more.")


async def administrator(caller: CurrentUser) -> Caller:
    if not caller.is_admin:
        raise Forbidden("Only an administrator may do that.")
    return caller


AdminUser = Annotated[Caller, Depends(administrator)]


def check_may_start(state: State, caller: Caller, session: Session) -> None:
    """Learnings and generations are counted by themselves, and started only while their user may keep more. session:
    the one that is read with already, as nobody may wait for a second connection while they hold one.
    """
    spend(state, state.settings.start_rate, "start", str(caller.id))
    check_room(session, caller.id, state.settings.user_quota_bytes)


def starts_work(state: AppState, caller: CurrentUser) -> Caller:
    """A caller who may start something now. Forms ask by themselves, so that they keep what was typed."""
    with state.readers() as session:
        check_may_start(state, caller, session)
    return caller


StartingUser = Annotated[Caller, Depends(starts_work)]


def starts_work_once(request: Request, state: AppState, caller: CurrentUser) -> Caller:
    """The same for routes with an `Idempotency-Key`. One that was used already starts nothing, and nothing is refused
    for what it does not start.
    """
    with state.readers() as session:
        if not is_used(session, caller.id, request.headers.get("idempotency-key")):
            check_may_start(state, caller, session)
    return caller


StartingOnce = Annotated[Caller, Depends(starts_work_once)]
