"""One unit of work: what is written and what is sent belong together."""

import pytest
from sqlalchemy import Engine, PrimaryKeyConstraint, UniqueConstraint, func, select, text
from sqlalchemy.exc import IntegrityError

from app.accounts.models import User
from app.db import Base, Sessions, UnitOfWork, make_readers

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


def test_who_only_reads_leaves_no_transaction_open_and_sees_the_newest_rows(engine: Engine, sessions: Sessions) -> None:
    with make_readers(engine)() as reader, sessions() as other:
        pid = reader.scalar(select(func.pg_backend_pid()))
        assert reader.scalars(select(User.name)).all() == []
        asked = text("SELECT state FROM pg_stat_activity WHERE pid = :pid")
        assert other.scalar(asked, {"pid": pid}) == "idle"
        other.add(User(name="ada", password_hash=NO_HASH))
        other.commit()
        assert reader.scalars(select(User.name)).all() == ["ada"]
    with sessions() as writer:  # the same connections, for whom a transaction is one again
        writer.add(User(name="bob", password_hash=NO_HASH))
        writer.flush()
        writer.rollback()
    assert names(sessions) == ["ada"]
