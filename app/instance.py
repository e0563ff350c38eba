"""Everything of the service, running on this machine over one folder: servers, web, worker. For `make up`, the demo and
the tests.
"""

import errno
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, exists, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.children import US, Child, Say, stop_all
from app.collect import keep_collecting
from app.config import Settings, WrongSettings, read_settings
from app.first_run import first_run_link
from app.jobs.models import WorkerRow
from app.migrate import migrate
from app.servers import FolderInUse, ServerNotStarted, Servers, note, servers_for

PORTS_TRIED = 20
WEB_STARTS_S, WORKER_STARTS_S = 60, 300
WEB_STOPS_S, WORKER_STOPS_S = 10, 25
COLLECT_EVERY_S = 3600.0


class NotStarted(Exception):
    """It does not run; the sentence says why."""


@dataclass
class Instance:
    """A running service. address: where its pages are. first_run: the link for the administrator while there is none.

    settings: what its processes were started with.
    """

    address: str
    first_run: str | None
    settings: Settings
    servers: Servers
    web: Child
    worker: Child
    say: Say

    def keep_alive(self) -> bool:
        """Start again what has died. False when something dies over and over."""
        for server in self.servers.private:
            if not server.alive:
                self.say(US, f"The private {server.name} died. Starting it again; its log is {server.log}.")
                try:
                    server.start()
                except ServerNotStarted as error:
                    self.say(US, str(error))
                    return False
        return self.web.revive() and self.worker.revive()

    def worker_is_ready(self) -> bool:
        """Whether the worker has loaded its base model and reported itself."""
        engine = create_engine(self.servers.database_url, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                mine = WorkerRow.id.contains(f":{self.worker.pid}:", autoescape=True)
                return bool(connection.scalar(select(exists().where(mine))))
        except SQLAlchemyError:
            return False

    def wait_for_worker(self, patience_s: float = WORKER_STARTS_S) -> None:
        """Raises NotStarted when it ends, or takes too long."""
        deadline = time.monotonic() + patience_s
        while not self.worker_is_ready():
            if not self.worker.alive:
                raise NotStarted("The worker did not start; its lines above say why.")
            if time.monotonic() > deadline:
                raise NotStarted(f"The worker did not start within {patience_s:.0f} s.")
            time.sleep(0.2)


@contextmanager
def running(
    folder: Path,
    say: Say,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    environment: Mapping[str, str] = os.environ,
    stop: threading.Event | None = None,
    durable: bool = True,
) -> Iterator[Instance]:
    """Start everything over the data in `folder`; end all of it when the block is left.

    port: the first to try; 0 for any that is free. stop: set when somebody loses patience before it has started.
    Raises NotStarted.
    """
    stop = stop or threading.Event()
    try:
        config = read_settings(environment)
    except WrongSettings as error:
        raise NotStarted(str(error)) from None
    with ExitStack() as stack:
        say(US, f"Starting over the data in {folder}.")
        with suppress(OSError):  # whoever needs it, and cannot have it, says so
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # before others of ours make it for everybody to see
        try:
            servers = stack.enter_context(servers_for(config, folder, durable=durable))
            migrate(servers.database_url)
        except (FolderInUse, ServerNotStarted) as error:
            raise NotStarted(str(error)) from None
        except OperationalError as error:
            raise NotStarted(f"The database cannot be reached: {str(error.orig).strip()}") from None
        listening = stack.enter_context(listen(host, port, say))
        address = address_of(listening, host)
        first_run = first_run_link(servers.database_url, config.public_url or address)
        named = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
        if "blob_folder" not in config.model_fields_set:
            named["BLOB_FOLDER"] = str((folder / "blobs").resolve())
        for_children = {
            **{name: value for name, value in environment.items() if not name.startswith(("DATABASE_", "REDIS_URL"))},
            **named,
            "PYTHONUNBUFFERED": "1",
        }
        number = listening.fileno()
        web_command = ["-m", "app.serve", "--fd", str(number)]
        web = Child("web", web_command, for_children, say, stop_s=WEB_STOPS_S, sockets=[number])
        worker = Child("worker", ["-m", "worker"], for_children, say, stop_s=WORKER_STOPS_S)
        stack.callback(stop_all, [web, worker])
        web.start()
        worker.start()
        _wait_for_web(address, web, stop)
        if servers.private:
            note(folder, ADDRESS=address)
        collecting = threading.Event()
        stack.callback(collecting.set)
        started = read_settings(for_children)
        threading.Thread(target=keep_collecting, args=(started, collecting, COLLECT_EVERY_S, say), daemon=True).start()
        yield Instance(address, first_run, started, servers, web, worker, say)


def listen(host: str, port: int, say: Say) -> socket.socket:
    """A socket that listens on `port`, or on the next one that is free. It stays open while the web process is started
    anew, so that browsers wait a moment instead of being refused.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in range(port, port + PORTS_TRIED) if port else [0]:
        made = socket.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, tried))
            made.listen(2048)
        except OSError as error:
            made.close()
            if error.errno == errno.EADDRINUSE:
                continue
            raise NotStarted(f"Nobody can listen on {host}, port {tried}: {error.strerror or error}.") from None
        if tried != port and port:
            say(US, f"Port {port} is taken; using {tried}.")
        return made
    raise NotStarted(
        f"Ports {port} to {port + PORTS_TRIED - 1} are all taken. Choose another, as in `make up PORT=9000`."
    )


def address_of(listening: socket.socket, host: str) -> str:
    """What a person on this machine types. Not `localhost`, which may lead to somebody else's IPv6 port."""
    port = listening.getsockname()[1]
    if host == "0.0.0.0":  # noqa: S104 - recognised here, chosen by nobody
        return f"http://127.0.0.1:{port}"
    if ":" in host:
        return f"http://[{'::1' if host == '::' else host}]:{port}"
    return f"http://{host}:{port}"


def _wait_for_web(address: str, web: Child, stop: threading.Event) -> None:
    deadline = time.monotonic() + WEB_STARTS_S
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of our own ports
    while not stop.is_set():
        try:
            with directly.open(f"{address}/healthz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        if not web.alive:
            raise NotStarted("The web process did not start; its lines above say why.")
        if time.monotonic() > deadline:
            raise NotStarted(f"The web process did not answer within {WEB_STARTS_S} s.")
        stop.wait(0.1)
