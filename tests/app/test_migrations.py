"""The migrations lead from nothing to exactly the tables that the code describes."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from app.migrate import alembic_config, migrate
from app.servers import Servers
from app.tables import Base


def test_migrations_and_models_describe_the_same_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_every_foreign_key_says_what_happens_when_its_target_goes(engine: Engine) -> None:
    keys = [(table.name, key) for table in Base.metadata.sorted_tables for key in table.foreign_key_constraints]
    assert len(keys) > 20
    for table, key in keys:
        assert key.ondelete in ("CASCADE", "RESTRICT", "SET NULL"), f"{table}.{key.column_keys}"
        found = {one["name"]: one["options"].get("ondelete") for one in inspect(engine).get_foreign_keys(table)}
        assert found[str(key.name)] == key.ondelete


def test_migrating_twice_changes_nothing_and_going_down_leaves_nothing(servers: Servers, engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("DROP DATABASE IF EXISTS from_nothing"))
        connection.execute(text("CREATE DATABASE from_nothing"))
    url = servers.database_url.replace("/palimpsest?", "/from_nothing?")
    migrate(url)
    migrate(url)
    command.downgrade(alembic_config(url), "base")
    from app.db import make_engine

    other = make_engine(url)
    assert inspect(other).get_table_names() == ["alembic_version"]
    other.dispose()
