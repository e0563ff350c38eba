"""Who may come in, and how they are put out again."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.accounts import service
from app.db import Sessions, UnitOfWork
from app.errors import Conflict, Invalid, NotFound, Unauthorized
from tests.app import make
from tests.app.person import Person

OPENS = "a long enough one"


@pytest.fixture
def uow(sessions: Sessions) -> UnitOfWork:
    return UnitOfWork(sessions, lambda *_args, **_kwargs: None)


def test_the_first_run_link_makes_one_administrator_and_is_spent(uow: UnitOfWork) -> None:
    token = service.make_setup_link(uow)
    assert token
    assert service.set_up(uow, token, "ada", OPENS).is_admin
    with pytest.raises(NotFound):
        service.set_up(uow, token, "eve", OPENS)
    assert service.make_setup_link(uow) is None


def test_a_newer_link_takes_the_older_ones_place(uow: UnitOfWork) -> None:
    old, new = service.make_setup_link(uow), service.make_setup_link(uow)
    assert old
    assert new
    with pytest.raises(NotFound):
        service.set_up(uow, old, "ada", OPENS)
    service.set_up(uow, new, "ada", OPENS)


def test_a_session_is_found_by_its_token_until_it_is_over(uow: UnitOfWork, sessions: Sessions) -> None:
    service.create_user(uow, "ada", OPENS)
    user, token = service.log_in(uow, " ADA ", OPENS, days=1)
    with sessions() as session:
        found = service.find_by_session(session, token)
        assert found is not None
        assert found.id == user.id
        assert session.scalar(text("SELECT count(*) FROM login_sessions WHERE token_sha256 = :t"), {"t": token}) == 0
        session.execute(text("UPDATE login_sessions SET expires_at = now()"))
        assert service.find_by_session(session, token) is None


def test_a_wrong_password_and_a_wrong_name_are_answered_in_the_same_words(uow: UnitOfWork) -> None:
    service.create_user(uow, "ada", OPENS)
    said = set()
    for name, password in (("ada", "another long one"), ("nobody", OPENS)):
        with pytest.raises(Unauthorized) as refused:
            service.log_in(uow, name, password, days=1)
        said.add(refused.value.message)
    assert len(said) == 1


def test_no_password_opens_an_account_that_was_made_without_one(uow: UnitOfWork, sessions: Sessions) -> None:
    with sessions() as session:
        make.user(session, "reader")
    for password in ("-", "", OPENS):
        with pytest.raises(Unauthorized):
            service.log_in(uow, "reader", password, days=1)


def test_changing_the_password_ends_every_other_session(uow: UnitOfWork, sessions: Sessions) -> None:
    user = service.create_user(uow, "ada", OPENS)
    (_, here), (_, elsewhere) = (service.log_in(uow, "ada", OPENS, days=1) for _ in range(2))
    with sessions() as session:
        kept = service.find_by_session(session, here)
    assert kept is not None
    with pytest.raises(Invalid, match="present password"):
        service.change_password(uow, user.id, "not this one", "a quite new one", kept.session_id)
    service.change_password(uow, user.id, OPENS, "a quite new one", kept.session_id)
    with sessions() as session:
        assert service.find_by_session(session, here) is not None
        assert service.find_by_session(session, elsewhere) is None


def test_a_disabled_user_is_out_with_session_and_key(uow: UnitOfWork, sessions: Sessions) -> None:
    admin = service.create_user(uow, "ada", OPENS, is_admin=True)
    user = service.create_user(uow, "bob", OPENS)
    _, token = service.log_in(uow, "bob", OPENS, days=1)
    _, key = service.make_api_key(uow, user.id, "notebook")
    service.change_user(uow, admin.id, user.id, disabled=True)
    with sessions() as session:
        assert service.find_by_session(session, token) is None
        assert service.find_by_api_key(session, key) is None
    with pytest.raises(Unauthorized):
        service.log_in(uow, "bob", OPENS, days=1)
    with pytest.raises(Conflict, match="yourself"):
        service.change_user(uow, admin.id, admin.id, disabled=True)


def test_names_are_one_whatever_their_case_and_passwords_have_a_length(uow: UnitOfWork) -> None:
    service.create_user(uow, "ada", OPENS)
    with pytest.raises(Conflict):
        service.create_user(uow, "Ada", OPENS)
    for name, password in (("b b", OPENS), ("", OPENS), ("bob", "short"), ("bob", "x" * 300)):
        with pytest.raises(Invalid):
            service.create_user(uow, name, password)


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked_for_good(ada: Person) -> None:
    made = ada.ask("POST", "/api-keys", json={"name": "notebook"}).json()
    listed = ada.ask("GET", "/api-keys").json()["items"]
    assert [one["name"] for one in listed] == ["tests", "notebook"]
    assert made["key"] not in str(listed)
    assert made["key"].startswith(listed[1]["prefix"])
    other = Person(ada.client, ada.id, ada.name, made["key"], ada.history_id)
    assert other.ask("GET", "/me").json()["name"] == "ada"
    assert ada.ask("DELETE", f"/api-keys/{made['id']}").status_code == 204
    assert other.ask("GET", "/me").status_code == 401
    assert ada.ask("DELETE", f"/api-keys/{made['id']}").status_code == 404


def test_only_an_administrator_sees_users(ada: Person, sessions: Sessions) -> None:
    assert ada.ask("GET", "/users").status_code == 403
    with sessions() as session:
        session.execute(text("UPDATE users SET is_admin = true"))
        session.commit()
    assert [one["name"] for one in ada.ask("GET", "/users").json()["items"]] == ["ada"]
    assert ada.ask("POST", "/users", json={"name": "grace", "password": OPENS}).status_code == 201


def test_a_session_lasts_as_long_as_it_was_made_for(uow: UnitOfWork, sessions: Sessions) -> None:
    service.create_user(uow, "ada", OPENS)
    user, _ = service.log_in(uow, "ada", OPENS, days=3, user_agent="x" * 500)
    with sessions() as session:
        [row] = service.list_sessions(session, user.id)
        assert timedelta(days=2, hours=23) < row.expires_at - row.created_at <= timedelta(days=3, minutes=1)
