"""The one-time link that makes the first administrator: `python -m app.first_run` prints a new one."""

import argparse
import sys

from app.accounts.service import make_setup_link
from app.commands import servers_of_command
from app.db import UnitOfWork, make_engine, make_sessions

NOBODY_YET = "Nobody has an account yet. Make the administrator at"


def first_run_link(database_url: str, address: str) -> str | None:
    """A new link in the place of an older one; None when there are users. address: where people open the pages."""
    engine = make_engine(database_url)
    try:
        token = make_setup_link(UnitOfWork(make_sessions(engine), lambda *_args, **_kwargs: None))
    finally:
        engine.dispose()
    return f"{address.rstrip('/')}/first-run?token={token}" if token else None


def address_published(publish: str) -> str:
    """What people type to come to the pages that compose publishes there: a port, an address and a port, or empty."""
    host, _, port = publish.rpartition(":")
    if host in ("", "0.0.0.0", "[::]"):  # noqa: S104 - recognised here, chosen by nobody
        host = "localhost"
    return f"http://{host}:{port or 8000}"


def main() -> None:
    does = "Print a new link that makes the administrator, while nobody has an account. An older one ends."
    argparse.ArgumentParser(description=does).parse_args()
    with servers_of_command() as (config, servers):
        address = config.public_url or servers.address or address_published(config.publish)
        link = first_run_link(servers.database_url, address)
    sys.stdout.write(f"{NOBODY_YET}\n  {link}\n" if link else "There are users already; log in.\n")


if __name__ == "__main__":
    main()
