"""Bring the database to the newest shape: `python -m app.migrate`. Several processes may try at once; one does it."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from app.config import settings
from app.servers import FolderInUse, ServerNotStarted, servers_for

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
    try:
        with servers_for(settings(), Path("var"), join=True) as servers:
            migrate(servers.database_url)
    except (FolderInUse, ServerNotStarted) as error:
        sys.exit(str(error))
    except OperationalError as error:
        sys.exit(f"The database cannot be reached: {str(error.orig).strip()}")
    sys.stdout.write("The database has its newest shape.\n")


if __name__ == "__main__":
    main()
