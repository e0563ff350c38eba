"""Alembic's environment: which tables there should be, and how the database is reached."""

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from app.config import settings
from app.tables import Base

ADVISORY_LOCK = 740_291_533  # whoever has it migrates; the others wait and find nothing to do


def run() -> None:
    url = context.config.attributes.get("database_url") or settings().database_url
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()


run()
