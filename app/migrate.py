"""Bring the database to the newest shape: `python -m app.migrate`. Several processes may try at once; one does it."""

import argparse
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

from app.commands import servers_of_command

FOLDER = Path(__file__).resolve().parent.parent / "migrations"


def alembic_config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


def migrate(database_url: str) -> None:
    """Run every migration that has not run yet, in one transaction."""
    command.upgrade(alembic_config(database_url), "head")


def main() -> None:
    """The database of the settings; without one, the private one under var/."""
    argparse.ArgumentParser(description="Bring the database to the newest shape.").parse_args()
    with servers_of_command() as (_, servers):
        migrate(servers.database_url)
    sys.stdout.write("The database has its newest shape.\n")


if __name__ == "__main__":
    main()
