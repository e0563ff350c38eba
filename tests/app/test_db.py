"""One unit of work: what is written and what is sent belong together."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, PrimaryKeyConstraint, UniqueConstraint, create_engine, func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from app.accounts.models import User
from app.db import Base, Sessions, UnitOfWork, make_engine, make_reading_engine
from app.pings import ping_rested
from app.servers import Servers

NO_HASH = "-"  # nothing opens it


class Sent(list[tuple[str, dict[str, str]]]):
    def __call__(self, task: str, *, kwargs: dict[str, str], queue: str) -> None:
        assert queue == "everybody"
        self.append((task, kwargs))


def names(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(User.name).order_by(User.name)))


def add(uow: UnitOfWork, name: str) -> None:
    uow.session.add(User(name=name, password_hash=NO_HASH))
    uow.after_commit("tell", "everybody", name=name)


def test_a_message_leaves_after_the_commit_and_not_before(sessions: Sessions) -> None:
    sent = Sent()
    uow = UnitOfWork(sessions, sent)
    with uow:
        add(uow, "ada")
        uow.session.flush()
        assert sent == []
        uow.commit()
        assert sent == [("tell", {"name": "ada"})]
        uow.commit()
    assert len(sent) == 1
    assert names(sessions) == ["ada"]


def test_without_a_commit_nothing_is_written_and_nothing_sent(sessions: Sessions) -> None:
    sent = Sent()
    uow = UnitOfWork(sessions, sent)
    with uow:
        add(uow, "ada")
    with uow:
        uow.commit()
    assert (names(sessions), sent) == ([], [])


def test_a_commit_that_fails_sends_nothing(sessions: Sessions) -> None:
    sent = Sent()
    uow = UnitOfWork(sessions, sent)
    with uow:
        add(uow, "ada")
        add(uow, "ADA")  # one name, whatever its letters
        with pytest.raises(IntegrityError, match="uq_users_name_lower"):
            uow.commit()
        uow.session.rollback()
        uow.commit()
    assert (names(sessions), sent) == ([], [])


def test_a_message_that_cannot_be_sent_undoes_nothing(sessions: Sessions) -> None:
    lost: list[tuple[str, dict[str, str], str]] = []

    def away(_task: str, *, kwargs: dict[str, str], queue: str) -> None:
        raise ConnectionError("The broker is away.")

    uow = UnitOfWork(sessions, away, lambda task, kwargs, error: lost.append((task, kwargs, str(error))))
    with uow:
        add(uow, "ada")
        uow.commit()
    assert names(sessions) == ["ada"]
    assert [(task, error) for task, _, error in lost] == [("tell", "The broker is away.")]


def test_a_row_can_be_shown_after_its_unit_of_work(sessions: Sessions) -> None:
    uow = UnitOfWork(sessions, Sent())
    with uow:
        user = User(name="ada", password_hash=NO_HASH)
        uow.session.add(user)
        uow.commit()
    assert user.created_at.tzinfo is not None


def test_every_constraint_has_a_name_and_every_foreign_key_an_index() -> None:
    for table in Base.metadata.sorted_tables:
        assert all(constraint.name for constraint in table.constraints), table
        led = {next(iter(index.columns)).name for index in table.indexes if len(index.columns)}
        unique = (PrimaryKeyConstraint, UniqueConstraint)  # these bring an index; foreign keys themselves do not
        led |= {next(iter(one.columns)).name for one in table.constraints if isinstance(one, unique)}
        for key in table.foreign_keys:
            if key.column.table.name in ("users", "histories", "versions", "jobs", "concepts", "blobs"):
                assert key.parent.name in led, (
                    f"{table.name}.{key.parent.name} is searched row by row when its target goes"
                )


def test_who_only_reads_leaves_no_transaction_open_and_sees_the_newest_rows(
    servers: Servers, sessions: Sessions
) -> None:
    reading = make_reading_engine(servers.database_url)
    with Session(reading) as reader, sessions() as other:
        pid = reader.scalar(select(func.pg_backend_pid()))
        assert reader.scalars(select(User.name)).all() == []
        asked = text("SELECT state FROM pg_stat_activity WHERE pid = :pid")
        assert other.scalar(asked, {"pid": pid}) == "idle"
        other.add(User(name="ada", password_hash=NO_HASH))
        other.commit()
        assert reader.scalars(select(User.name)).all() == ["ada"]
    reading.dispose()


def end_connections(sessions: Sessions, pids: Sequence[int]) -> None:
    with sessions() as session:
        for pid in pids:
            session.execute(select(func.pg_terminate_backend(pid, 5000)))


@pytest.mark.parametrize("rested_s", [0.0, 3600.0])
def test_a_connection_that_broke_while_it_rested_is_replaced_before_anybody_notices(
    servers: Servers, sessions: Sessions, rested_s: float
) -> None:
    """One that was used a moment ago is not asked: whoever meets it learns that it has gone, and nobody after that."""
    engine = create_engine(servers.database_url)
    ping_rested(engine, rested_s)
    with engine.connect() as one, engine.connect() as two:
        pids = [connection.scalar(select(func.pg_backend_pid())) for connection in (one, two)]
    end_connections(sessions, pids)
    if rested_s:
        with engine.connect() as connection, pytest.raises(OperationalError):
            connection.scalar(select(1))
    with engine.connect() as one, engine.connect() as two:
        after = [connection.scalar(select(func.pg_backend_pid())) for connection in (one, two)]
    assert not set(after) & set(pids)
    engine.dispose()


@pytest.mark.parametrize("make", [make_engine, make_reading_engine])
def test_a_host_that_vanishes_without_a_word_is_not_waited_for_as_long_as_a_kernel_would(
    make: Callable[[str], Engine], servers: Servers
) -> None:
    engine = make(servers.database_url)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        chosen = driver.info.get_parameters()
    engine.dispose()
    assert int(chosen["tcp_user_timeout"]) == 20_000
    seconds = {name: int(chosen[name]) for name in ("keepalives_idle", "keepalives_interval", "keepalives_count")}
    assert seconds["keepalives_idle"] + seconds["keepalives_interval"] * seconds["keepalives_count"] <= 30
    assert int(chosen["connect_timeout"]) == 5


def test_a_server_that_lets_nothing_be_written_counts_as_away(servers: Servers) -> None:
    """As one is for a while that another takes the place of."""
    engine = make_engine(servers.database_url)
    with engine.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = on"))
        connection.commit()
        with pytest.raises(OperationalError) as raised:
            connection.execute(text("INSERT INTO users (name, password_hash) VALUES ('ada', :secret)"), {"secret": "s"})
        assert raised.value.connection_invalidated
        assert "parameters hidden" in str(raised.value)
    with engine.begin() as connection:  # another connection, to whichever server is there now
        assert connection.scalar(text("SHOW transaction_read_only")) == "off"
    engine.dispose()


def test_a_statement_that_cannot_be_sent_is_no_database_that_is_away(sessions: Sessions) -> None:
    """Whoever waits for one that is away would wait in vain."""
    too_many = select(User.id).where(User.name.in_([f"user {number}" for number in range(65_536)]))
    with sessions() as session:
        with pytest.raises(ProgrammingError, match="number of parameters"):
            session.execute(too_many)
        session.rollback()
        assert session.scalar(select(1)) == 1
