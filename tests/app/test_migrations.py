"""The migrations lead from nothing to exactly the tables that the code describes."""

from collections.abc import Sequence

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from app.db import make_engine
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
    other = make_engine(url)
    assert inspect(other).get_table_names() == ["alembic_version"]
    other.dispose()


def test_numbers_of_what_was_erased_before_they_were_kept_are_found_in_the_proofs(
    servers: Servers, engine: Engine
) -> None:
    asked = "SELECT name, highest_erased FROM histories ORDER BY name"
    assert migrated(servers, engine, "0007", _ERASED_AND_NOT, asked) == [("pets", 12), ("things", 0)]


def test_pictures_from_before_concepts_kept_apart_are_known_to_have_mixed(servers: Servers, engine: Engine) -> None:
    assert migrated(servers, engine, "0010", _ASKED_BEFORE, "SELECT apart FROM generations") == [(False,)]


def migrated(
    servers: Servers, engine: Engine, revision: str, before: Sequence[str], asked: str
) -> list[tuple[object, ...]]:
    """What `asked` finds after all migrations in a database that was at `revision` when `before` was written to it."""
    name = f"from_{revision}"
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = servers.database_url.replace("/palimpsest?", f"/{name}?")
    command.upgrade(alembic_config(url), revision)
    other = make_engine(url)
    with other.begin() as connection:
        for statement in before:
            connection.execute(text(statement))
    migrate(url)
    with other.begin() as connection:
        found = connection.execute(text(asked)).all()
    other.dispose()
    return [tuple(one) for one in found]


_ERASED_AND_NOT = (
    "INSERT INTO users (id, name, password_hash, is_admin) VALUES (md5('ada')::uuid, 'ada', '-', false)",
    "INSERT INTO base_models (id, source, facts) VALUES ('b', 'storybook', '{}')",
    "INSERT INTO histories (id, owner_id, base_id, name) "
    "SELECT md5(name)::uuid, md5('ada')::uuid, 'b', name FROM unnest(ARRAY['pets', 'things']) AS name",
    """
    INSERT INTO jobs (id, owner_id, history_id, kind, state, settings, attempt, times_lost, max_attempts,
                      cancel_requested, stage, step, steps_total, progress)
    SELECT md5(name)::uuid, md5('ada')::uuid, md5('pets')::uuid, 'forget', 'done', '{}', 1, 0, 3, false, '', 0, 0, '{}'
    FROM unnest(ARRAY['rex', 'momo', 'zigi']) AS name
    """,
    """
    INSERT INTO forgettings (id, history_id, job_id, name, class_noun, mode, shared, erase, versions, doomed, proof)
    SELECT md5(name)::uuid, md5(history)::uuid, md5(name)::uuid, name, 'dog', 'fast', 'kept', true, '[]', '[]', proof
    FROM (VALUES ('rex', 'pets', CAST('{"versions": [9, 12]}' AS jsonb)), ('momo', 'pets', '{"versions": [3]}'),
                 ('zigi', 'things', '{}')) AS asked (name, history, proof)
    """,
)

_ASKED_BEFORE = (
    "INSERT INTO users (id, name, password_hash, is_admin) VALUES (md5('ada')::uuid, 'ada', '-', false)",
    "INSERT INTO base_models (id, source, facts) VALUES ('b', 'storybook', '{}')",
    "INSERT INTO histories (id, owner_id, base_id, name) VALUES (md5('pets')::uuid, md5('ada')::uuid, 'b', 'pets')",
    """
    INSERT INTO jobs (id, owner_id, history_id, kind, state, settings, attempt, times_lost, max_attempts,
                      cancel_requested, stage, step, steps_total, progress)
    VALUES (md5('old')::uuid, md5('ada')::uuid, md5('pets')::uuid, 'generate', 'done', '{}', 1, 0, 3, false, '', 0, 0,
            '{}')
    """,
    """
    INSERT INTO generations (id, history_id, job_id, prompt, negative_prompt, seed, count, steps, guidance, sampler,
                             width_px, height_px)
    VALUES (md5('old')::uuid, md5('pets')::uuid, md5('old')::uuid, 'a mug', '', 1, 1, 4, 4, 'ddim', 64, 64)
    """,
)
