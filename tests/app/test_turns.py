"""What routes are handed: the caller, and with them one connection; and in which order strangers are refused."""

import inspect

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from app.config import Settings
from app.db import Sessions
from app.deps import AppState, CurrentUser, Reading
from app.main import create_app
from app.turns import in_one_turn
from tests.app.person import Person, make_person


def test_fastapi_is_asked_for_nothing_that_is_handed_in() -> None:
    def show(number: int, caller: CurrentUser, session: Reading, state: AppState) -> str:
        """Made up."""
        return f"{number}{caller}{session}{state}"

    turn, asks_who = in_one_turn(show)
    assert asks_who
    assert {name: one.annotation for name, one in inspect.signature(turn).parameters.items()} == {
        "number": int,
        "request": Request,
    }


def test_a_route_for_everybody_asks_nobody_who_they_are() -> None:
    def show(number: int) -> int:
        return number

    assert not in_one_turn(show)[1]


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/api/v1/jobs?limit=0", {}),
        ("GET", "/api/v1/jobs?cursor=none-of-ours", {}),
        ("GET", "/api/v1/images/none/thumbnail", {}),
        ("POST", "/api/v1/histories", {"json": {"nothing": 1}}),
        ("POST", "/api/v1/histories", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
    ],
)
def test_a_stranger_is_told_to_log_in_before_they_are_told_what_else_is_wrong(
    client: TestClient, ada: Person, method: str, path: str, options: dict[str, object]
) -> None:
    assert client.request(method, path, **options).status_code == 401  # type: ignore[arg-type]
    known = {"Authorization": f"Bearer {ada.key}"}
    headers = {**known, **options.pop("headers", {})}  # type: ignore[dict-item]
    assert client.request(method, path, headers=headers, **options).status_code in (404, 422)  # type: ignore[arg-type]


def test_who_asks_wrongly_is_counted_all_the_same(config: Settings, sessions: Sessions) -> None:
    slow = config.model_copy(update={"api_rate": "2/minute"})
    with TestClient(create_app(slow, lambda *_args, **_kwargs: None)) as client:
        ada = make_person(client, sessions, "ada")
        assert [ada.ask("GET", "/jobs?limit=0").status_code for _ in range(3)] == [422, 422, 429]
