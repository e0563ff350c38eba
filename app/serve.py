"""The web process: `python -m app.serve`. `make up` starts it with an open socket, the image with an address."""

import argparse
import asyncio
import gc
import socket
import sys

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from app.config import Settings, WrongSettings, settings
from app.first_run import NOBODY_YET, address_published, first_run_link
from app.main import create_app

MADE_BETWEEN_COLLECTIONS = 20_000  # objects that are still there; a page makes thousands, nearly all gone at its end
ALL_END_WITHIN_S = 5  # who waits is answered in two; a page that follows its jobs asks again where it was broken off


def main() -> None:
    parser = argparse.ArgumentParser(description="The web process alone. `make up` starts everything.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="a listening socket that is open already, by its number")
    parser.add_argument("--first-run-link", action="store_true", help="print it while nobody has an account")
    options = parser.parse_args()
    try:
        config = settings()
    except WrongSettings as error:
        sys.exit(str(error))
    server = make_server(config, options.host, options.port)
    leave_out_of_collections()
    if options.first_run_link:
        tell_first_run_link(config, address_published(config.publish or str(options.port)))
    server.run(sockets=[socket.socket(fileno=options.fd)] if options.fd is not None else None)


class Server(uvicorn.Server):
    """Those who wait for pictures learn that it begins to stop, while they can still be answered."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event):
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)


def make_server(config: Settings, host: str, port: int) -> Server:
    """The lines of uvicorn go through our own log."""
    app = create_app(config)
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=config.forwarded_allow_ips,  # or log-in attempts would be counted for all of a proxy's
            timeout_graceful_shutdown=ALL_END_WITHIN_S,
        ),
        app.state.palimpsest.stopping,
    )


def leave_out_of_collections() -> None:
    """What is loaded by now lives as long as the process: looking through all of it for garbage, as Python would every
    few dozen requests, finds nothing and lets everybody wait meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(MADE_BETWEEN_COLLECTIONS, 50, 100)  # what is old is looked through more seldom still


def tell_first_run_link(config: Settings, address: str) -> None:
    """It can be used once, and a newer one takes its place. A database that is away does not stop the start."""
    try:
        link = first_run_link(config.database_url, config.public_url or address)
    except SQLAlchemyError:
        link = None
    if link:
        sys.stdout.write(f"{NOBODY_YET}\n  {link}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
