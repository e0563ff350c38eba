"""What commands at the prompt share: the settings, the servers they are about, and a sentence where one is away."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import OperationalError, ProgrammingError

from app.config import Settings, WrongSettings, settings
from app.servers import FolderInUse, ServerNotStarted, Servers, servers_for

_UNDEFINED_TABLE = "42P01"  # PostgreSQL's name of it


@contextmanager
def servers_of_command() -> Iterator[tuple[Settings, Servers]]:
    """The settings and the servers that they name; of `make up` its private ones, whether it runs at the moment or not.

    Whatever keeps the block from its work ends the process by one sentence.
    """
    try:
        config = settings()
        with servers_for(config, Path("var"), join=True) as servers:
            yield config, servers
    except (WrongSettings, FolderInUse, ServerNotStarted) as error:
        sys.exit(str(error))
    except OperationalError as error:
        sys.exit(f"The database cannot be reached: {str(error.orig).strip()}")
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _UNDEFINED_TABLE:
            raise
        sys.exit("The database has no tables yet. `python -m app.migrate` makes them.")
