"""The database: names of constraints, sessions, and one unit of work per use case."""

from collections.abc import Callable, Collection
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Engine,
    MetaData,
    Uuid,
    any_,
    create_engine,
    event,
    literal,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session, sessionmaker

from app.pings import ping_rested

Send = Callable[..., object]
"""Celery's `send_task`; tests hand in a recorder."""
Sessions = sessionmaker[Session]
CONNECTING: dict[str, int] = {
    "connect_timeout": 5,
    # A host that vanishes without a word is noticed after half a minute, and not after the quarter of an hour that a
    # kernel waits by itself.
    "tcp_user_timeout": 20_000,  # ms
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
READ_ONLY = "25006"  # PostgreSQL's name of it


class Base(DeclarativeBase):
    """Every table. Constraints have names, so that a migration can speak of them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        UUID: Uuid(),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


def make_engine(url: str, **options: Any) -> Engine:
    """A pool of connections that notices when the database was started anew. Its errors, which are logged, do not tell
    the values that were sent: prompts, and hashes of passwords.
    """
    engine = create_engine(
        url,
        pool_use_lifo=True,  # so that a few are in use all the time, and need not be asked whether they work
        pool_size=10,
        max_overflow=20,
        hide_parameters=True,
        connect_args=CONNECTING,
        **options,
    )
    ping_rested(engine)
    take_read_only_for_away(engine)
    take_unsent_for_a_mistake(engine)
    return engine


def take_read_only_for_away(engine: Engine) -> None:
    """From now on, a server that lets nothing be written is none, as one is for a while whose place another takes: its
    connections are dropped, and whoever waits for a database that is away waits for this one.
    """

    @event.listens_for(engine, "handle_error")
    def refuse(context: ExceptionContext) -> None:
        error = context.original_exception
        if getattr(error, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True
            sent = context.statement, context.parameters
            raise OperationalError(*sent, error, hide_parameters=True, connection_invalidated=True)


def take_unsent_for_a_mistake(engine: Engine) -> None:
    """From now on, a statement that could not even be sent, though the database is there, is a mistake of ours, such as
    one with more parameters than a statement may have. Its error is called like that of a database that is away, and
    whoever waits for that one would wait in vain.
    """

    @event.listens_for(engine, "handle_error")
    def refuse(context: ExceptionContext) -> None:
        error = context.original_exception
        is_told_by_server = getattr(error, "sqlstate", None) is not None
        is_away = context.connection is None or context.is_disconnect or is_told_by_server
        if isinstance(context.sqlalchemy_exception, OperationalError) and not is_away:
            raise ProgrammingError(context.statement, context.parameters, error, hide_parameters=True)


def among(column: ColumnElement[Any] | InstrumentedAttribute[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """That the column is one of these. They are one parameter together, as a statement may have 65,535 of them."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def make_reading_engine(url: str) -> Engine:
    """Connections that are only read with. Each statement stands by itself: to begin and end a transaction around them
    would be two more journeys to the database, of which a request makes few others, and in a transaction too every
    statement sees the newest rows (READ COMMITTED).

    They are a pool of their own: a connection that is switched over for each use and back again after it costs the web
    process as much as the statement that it is used for.
    """
    return make_engine(url, isolation_level="AUTOCOMMIT")


def make_sessions(engine: Engine) -> Sessions:
    """Rows stay readable after the commit, so that an answer can be made from them."""
    return sessionmaker(engine, expire_on_commit=False)


class UnitOfWork:
    """One transaction, and what to send once it has committed: messages to workers, wakes to those who watch a job.

    Leaving the block without `commit()` undoes everything and forgets the messages. A message that cannot be sent is
    forgotten too: the row says what is to be done, and the sweep rings again.
    """

    session: Session

    def __init__(
        self,
        sessions: Sessions,
        send: Send,
        on_lost: Callable[[str, dict[str, str], Exception], None] | None = None,
        wake: Callable[[UUID], None] | None = None,
    ):
        self._sessions, self._send, self._on_lost, self._wake = sessions, send, on_lost, wake
        self._outbox: list[tuple[str, str, dict[str, str]]] = []
        self._changed: list[UUID] = []

    def __enter__(self) -> "UnitOfWork":
        self.session = self._sessions()
        self._outbox, self._changed = [], []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close()

    def after_commit(self, task: str, queue: str, **kwargs: str) -> None:
        """Send `task` with `kwargs` (ids only) to `queue` when this unit has committed."""
        self._outbox.append((task, queue, kwargs))

    def wake_after_commit(self, job_id: UUID) -> None:
        """Tell whoever watches this job that there is more to read."""
        self._changed.append(job_id)

    def commit(self) -> None:
        try:
            self.session.commit()
        except BaseException:
            self._outbox, self._changed = [], []
            raise
        outbox, self._outbox = self._outbox, []
        changed, self._changed = self._changed, []
        for task, queue, kwargs in outbox:
            try:
                self._send(task, kwargs=kwargs, queue=queue)
            except Exception as error:  # the broker may be away; whatever it raises, the sweep rings again
                if self._on_lost:
                    self._on_lost(task, kwargs, error)
        for job_id in changed:
            if self._wake:
                self._wake(job_id)
