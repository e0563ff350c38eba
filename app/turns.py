"""A route's one turn through a thread: who asks is looked up and the answer made, over one connection.

Nearly every route asks for its caller and for a session to read with. FastAPI would work each of them out by itself,
in a general way that takes as long as a statement, and would look the caller up in a turn of its own. So these few are
taken out of what a route asks FastAPI for, and handed in here.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from fastapi import Request
from fastapi.params import Depends
from starlette.concurrency import run_in_threadpool

from app.accounts.caller import Caller
from app.deps import app_state, let_in, logged_in, reading, sent_csrf_token, state_of, unit_of_work
from app.files import if_none_match

AT_HAND = (app_state, unit_of_work, if_none_match)
"""They wait for nothing, so they are asked before the turn through a thread begins."""
HANDED_IN = (logged_in, reading, *AT_HAND)
Endpoint = Callable[..., Any]
Decorated = TypeVar("Decorated", bound=Endpoint)


def decodes_pictures(
    when: Callable[[Mapping[str, Any]], bool] = lambda _values: True,
) -> Callable[[Decorated], Decorated]:
    """A route that waits for its turn before it has a thread (`decoding.py`). when: whether a request does, by what the
    route is called with.
    """

    def mark(endpoint: Decorated) -> Decorated:
        endpoint.decodes_pictures = when  # type: ignore[attr-defined]  # read below
        return endpoint

    return mark


def in_one_turn(endpoint: Endpoint) -> tuple[Callable[..., Awaitable[Any]], bool]:
    """The function as a route of FastAPI, and whether it wants to know its caller."""
    asked = inspect.signature(endpoint)
    wanted = _wanted(asked)
    decodes = getattr(endpoint, "decodes_pictures", lambda _values: False)
    own_request = next((one.name for one in asked.parameters.values() if one.annotation is Request), None)

    @wraps(endpoint)
    async def turn(**values: Any) -> Any:
        request: Request = values[own_request] if own_request else values.pop("request")
        for one in AT_HAND:
            if one in wanted:
                values[wanted[one]] = await one(request)
        if decodes(values):
            return await _take_in_order(endpoint, wanted, request, values)
        csrf_token = await sent_csrf_token(request) if logged_in in wanted else ""
        return await run_in_threadpool(_take, endpoint, wanted, request, csrf_token, values)

    turn.__signature__ = _without(asked, wanted, own_request is None)  # type: ignore[attr-defined]  # what FastAPI reads
    return turn, logged_in in wanted


def _wanted(asked: inspect.Signature) -> dict[Callable[..., Any], str]:
    """What is handed in -> the name that the function calls it by."""
    found = {}
    for name, parameter in asked.parameters.items():
        for one in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(one, Depends) and one.dependency in HANDED_IN:
                found[one.dependency] = name
    return found


def _without(
    asked: inspect.Signature, wanted: Mapping[Callable[..., Any], str], needs_request: bool
) -> inspect.Signature:
    names = set(wanted.values())
    left = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in asked.parameters.values() if one.name not in names
    ]
    if needs_request:
        left.append(inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    return asked.replace(parameters=left)


async def _take_in_order(
    endpoint: Endpoint, wanted: Mapping[Callable[..., Any], str], request: Request, values: dict[str, Any]
) -> Any:
    """When it is the caller's turn, who is therefore looked up before."""
    caller = next((one for one in values.values() if isinstance(one, Caller)), None)  # whoever starts work is known
    if caller is None:
        caller = values[wanted[logged_in]] = await logged_in(request)
    rest = {one: name for one, name in wanted.items() if one is not logged_in}
    async with state_of(request).decoding.place(caller.id):
        return await run_in_threadpool(_take, endpoint, rest, request, "", values)


def _take(
    endpoint: Endpoint,
    wanted: Mapping[Callable[..., Any], str],
    request: Request,
    csrf_token: str,
    values: dict[str, Any],
) -> Any:
    """In the thread. Whoever only changes something gives the connection back before it begins to."""
    state = state_of(request)
    if reading in wanted:
        with state.readers() as session:
            if logged_in in wanted:
                values[wanted[logged_in]] = let_in(request, session, csrf_token)
            request.state.reading = values[wanted[reading]] = session
            return endpoint(**values)
    if logged_in in wanted:
        with state.reading.connect() as connection:
            values[wanted[logged_in]] = let_in(request, connection, csrf_token)
    return endpoint(**values)
