"""Commands at the prompt reach the servers of `make up`, and say in a sentence what keeps them from their work."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import ProgrammingError

from app import describe_settings, first_run, migrate, new_password, openapi
from app.accounts import service
from app.commands import servers_of_command
from app.config import settings
from app.db import Sessions, UnitOfWork, make_engine
from app.private_postgres import Postgres
from app.servers import Servers, note, sole_use
from storybook import SAMPLES_FOLDER

MADE = (describe_settings.FILE, openapi.FILE)
OPENS = "a long enough one"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder with nothing in it, with settings that are read anew."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def running(servers: Servers) -> Iterator[None]:
    """As `make up` leaves it beside its data while it runs."""
    folder = Path("var")
    folder.mkdir()
    with sole_use(folder):
        note(folder, DATABASE_URL=servers.database_url, REDIS_URL=servers.redis_url)
        note(folder, ADDRESS="http://127.0.0.1:8001")
        yield


@pytest.fixture
def uow(sessions: Sessions) -> UnitOfWork:
    return UnitOfWork(sessions, lambda *_args, **_kwargs: None)


@pytest.mark.usefixtures("running")
def test_a_forgotten_password_is_replaced_where_make_up_keeps_the_database_to_itself(
    uow: UnitOfWork, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service.create_user(uow, "root", OPENS, is_admin=True)
    monkeypatch.setattr(sys, "argv", ["new_password", "root"])
    assert new_password.main() == 0
    password = capsys.readouterr().out.splitlines()[1].strip()
    assert service.log_in(uow, "root", password, days=1)


@pytest.mark.usefixtures("running", "sessions")
def test_the_first_link_is_made_again_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["first_run"])
    first_run.main()
    assert "http://127.0.0.1:8001/first-run?token=" in capsys.readouterr().out


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize(
    ("publish", "address"),
    [
        ("", "http://localhost:8000"),
        ("9000", "http://localhost:9000"),
        ("0.0.0.0:9000", "http://localhost:9000"),
        ("192.0.2.7:9000", "http://192.0.2.7:9000"),
        ("[::]:9000", "http://localhost:9000"),
        ("[2001:db8::7]:9000", "http://[2001:db8::7]:9000"),
    ],
)
def test_the_first_link_leads_to_where_compose_publishes_the_pages(
    publish: str, address: str, servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url, "PUBLISH": publish}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["first_run"])
    first_run.main()
    assert f"  {address}/first-run?token=" in capsys.readouterr().out


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("named", [("DATABASE_URL",), ("REDIS_URL",), ("DATABASE_URL", "REDIS_URL")])
def test_a_server_that_is_named_is_the_one_that_is_meant_also_while_make_up_runs_here(
    named: tuple[str, ...], servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    other = {"DATABASE_URL": "postgresql+psycopg://p@elsewhere/palimpsest", "REDIS_URL": "redis://elsewhere:6379/0"}
    for name in named:
        monkeypatch.setenv(name, other[name])
    with servers_of_command() as (_, found):
        meant = {**private, **{name: other[name] for name in named}}
        assert {"DATABASE_URL": found.database_url, "REDIS_URL": found.redis_url} == meant
        assert found.address == ("" if "DATABASE_URL" in named else "http://127.0.0.1:8001")


@pytest.mark.usefixtures("running")
def test_the_database_that_is_named_is_migrated_and_not_the_private_one(
    tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = Postgres(tmp_path / "postgres", durable=False)
    try:
        meant.start()
        monkeypatch.setenv("DATABASE_URL", meant.url)
        monkeypatch.setattr(sys, "argv", ["migrate"])
        migrate.main()
        assert _tables(meant.url) == _tables(servers.database_url)
    finally:
        meant.close()


COMMANDS = (
    *("app.collect", "app.describe_settings", "app.first_run", "app.migrate", "app.new_password", "app.openapi"),
    *("app.serve", "app.up", "app.worker_alive", "storybook.make_samples", "worker.__main__", "worker.each_device"),
)


@pytest.mark.parametrize("module", COMMANDS)
def test_who_asks_for_help_or_mistypes_an_option_has_nothing_done_to_anything(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No folder, no server, no file: settings that cannot be used would end whatever goes on from there."""
    monkeypatch.setenv("LEASE_S", "0")
    for name in ("TRANSFORMERS_VERBOSITY", "TOKENIZERS_PARALLELISM", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what the worker sets there is undone
    command = importlib.import_module(module).main
    made = [path.stat().st_mtime_ns for path in (*MADE, *SAMPLES_FOLDER.rglob("*"))]
    for option, status in (("--help", 0), ("--hepl", 2)):
        monkeypatch.setattr(sys, "argv", [module, option])
        with pytest.raises(SystemExit) as ended:
            command()
        assert (ended.value.code, "usage: " in "".join(capsys.readouterr())) == (status, True)
    assert list(tmp_path.iterdir()) == []
    assert [path.stat().st_mtime_ns for path in (*MADE, *SAMPLES_FOLDER.rglob("*"))] == made


def test_a_setting_that_cannot_be_used_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASE_S", "0")
    with pytest.raises(SystemExit, match=r"^The settings cannot be used\. LEASE_S: "), servers_of_command():
        pass


def test_a_database_that_is_away_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql+psycopg://somebody@/palimpsest?host={tmp_path}")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    with (
        pytest.raises(SystemExit, match=r"^The database cannot be reached: "),
        servers_of_command() as (_, servers),
    ):
        new_password.give_new_password(servers.database_url, "root")


def test_a_database_without_tables_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Postgres(tmp_path / "postgres", durable=False)
    try:
        empty.start()
        monkeypatch.setenv("DATABASE_URL", empty.url)
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        with (
            pytest.raises(SystemExit, match=r"^The database has no tables yet"),
            servers_of_command() as (_, servers),
        ):
            new_password.give_new_password(servers.database_url, "root")
    finally:
        empty.close()


@pytest.mark.usefixtures("running")
def test_any_other_fault_of_a_statement_is_told_whole() -> None:
    with pytest.raises(ProgrammingError, match="column"), servers_of_command() as (_, servers):
        _ask_for_what_is_not_there(servers.database_url)


def _tables(database_url: str) -> set[str]:
    engine = make_engine(database_url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def _ask_for_what_is_not_there(database_url: str) -> None:
    engine = make_engine(database_url)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT nothing FROM users")
    finally:
        engine.dispose()
