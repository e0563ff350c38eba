"""The table of routes, and how one of them is run.

FastAPI's `include_router` keeps routers inside routers, and finds a route by asking each of them twice. Here every
route has its whole address from the beginning, so that all stand in one list that is walked once.
"""

from collections.abc import Callable, Coroutine, Iterable
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from app.deps import logged_in
from app.errors import AppError
from app.problems import described
from app.turns import in_one_turn

REST = "/api/v1"


class OneTurn(APIRoute):
    """A route whose function takes one turn through a thread, and no second one for FastAPI to check its answer in:
    to make a page or a model of ours ready to be sent waits for nothing.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
        self._asks_who = False
        if not iscoroutinefunction(endpoint) and not isasyncgenfunction(endpoint):
            endpoint, self._asks_who = in_one_turn(endpoint)
        super().__init__(path, endpoint, **options)
        self._begins_with = self.path.partition("{")[0]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Whoever is not known is told so, and not what else is wrong with what they ask."""
        handle = super().get_route_handler()
        if not self._asks_who:
            return handle

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except (AppError, RequestValidationError):
                if not getattr(request.state, "is_let_in", False):
                    await logged_in(request)
                raise

        return answer

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Most of the table is passed over by how an address begins, before anything of it is read."""
        if scope["path"].startswith(self._begins_with) or scope.get("root_path"):
            return super().matches(scope)
        return Match.NONE, {}


def rest_router(tag: str) -> APIRouter:
    """For the REST interface. Everything in it may be refused to strangers, may not be there, may be asked wrongly or
    too often.
    """
    return APIRouter(
        prefix=REST,
        tags=[tag],
        responses=described(401, 404, 422, 429),
        route_class=OneTurn,
        generate_unique_id_function=lambda route: route.name,
    )


def page_router() -> APIRouter:
    """For pages, which are no part of the REST interface and stand not in its description."""
    return APIRouter(route_class=OneTurn, include_in_schema=False)


def lay_out(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Add the routes of these to the table, in their order."""
    for router in routers:
        app.router.routes.extend(router.routes)
