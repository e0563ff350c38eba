"""`make up` as people use it: started, started twice, killed in parts and as a whole, and started again."""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.instance import NotStarted, listen, running
from app.private_postgres import Postgres, _programs
from app.processes import works_in
from app.servers import ServerNotStarted, private_servers
from app.storage import blob_name
from app.up import Told, port_number
from demo.rest import become_administrator
from tests.faults.house import House
from tests.worker.processes import ROOT, wait_until


@pytest.fixture
def house(sd1_folder: Path, tmp_path: Path) -> Iterator[House]:
    """Over a folder whose path is longer than the address of a socket may be."""
    folder = tmp_path / ("a folder with a long name " * 4) / ("and in it another " * 4) / "var"
    folder.parent.mkdir(parents=True)
    made = House(folder, sd1_folder, tmp_path / "up.log")
    yield made
    made.close()


def test_it_starts_stops_and_has_everything_when_it_starts_again(house: House) -> None:
    address = house.start(r"Open (\S+)")[1]
    assert httpx.get(f"{address}/healthz", trust_env=False).text == "ok"
    key = become_administrator(house.wait_for(r"(http\S+first-run\?token=\S+)")[1], "ada", "long enough a word", "key")
    house.wait_for(r"Ready: (\S+)")
    assert "absolutely not recommended" not in house.said
    assert not house.folder.stat().st_mode & 0o066  # others may pass through at most, for the database of root
    wait_until((house.folder / "blobs").exists, "its files have a place")
    assert not (house.folder / "blobs").stat().st_mode & 0o077
    assert "Traceback" not in house.said

    again = subprocess.run(
        [sys.executable, "-m", "app.up", "--folder", str(house.folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert again.returncode == 1
    assert f"is in use already: {address}" in again.stdout

    assert house.stop(signal.SIGINT) == 0
    assert "Stopped." in house.said
    assert house.is_empty()

    nobodys = house.folder / "blobs" / blob_name(64 * "a")
    nobodys.parent.mkdir(exist_ok=True)
    nobodys.write_bytes(b"whose writer was killed")
    os.utime(nobodys, (0, 0))
    address = house.start()[1]
    wait_until(lambda: not nobodys.exists(), "what nobody needs is collected, however short it runs")
    assert "first-run" not in house.said
    who = httpx.get(f"{address}/api/v1/me", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
    assert who.json()["name"] == "ada"
    assert house.stop(signal.SIGTERM) == 0
    assert house.is_empty()


def test_what_dies_is_started_again_and_what_is_killed_leaves_nothing_in_the_way(house: House, tmp_path: Path) -> None:
    address = house.start()[1]
    for words, pattern in (
        (("-m worker",), r"The worker process was ended by signal 9\. Starting it again\.\n[\s\S]*Ready: "),
        (("app.serve",), r"The web process was ended by signal 9\. Starting it again"),
        (("valkey-server",), r"The private Valkey died\. Starting it again"),
        (("postgres -D",), r"The private PostgreSQL died\. Starting it again"),
    ):
        os.kill(house.pid_of(*words), signal.SIGKILL)
        house.wait_for(pattern)
    wait_until(lambda: is_ready(address), "all of it is there again")

    assert house.process is not None
    house.process.kill()  # and nothing else: the others see that it is gone
    house.process.wait()
    wait_until(house.is_empty, "nothing outlives it")
    house.start(r"Open (\S+)")
    house.kill_everything()
    long = tmp_path / ("temporary " * 12)  # which is no place for sockets
    long.mkdir()
    house.start(TMPDIR=str(long))
    assert "Traceback" not in house.said
    assert house.stop() == 0


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_worker_that_cannot_start_leaves_its_sentence(house: House, tmp_path: Path) -> None:
    house.start(r"There is no base model at", BASE_MODEL=str(tmp_path / "nowhere"))
    house.wait_for(r"The worker process ended by itself with status 1\. Starting it again\.")
    assert house.stop() == 0


def test_settings_that_cannot_be_used_are_named_at_once(house: House) -> None:
    house.start("HEARTBEAT_S", HEARTBEAT_S="-1")
    wait_until(lambda: not house.alive, "it has ended")
    assert house.process is not None
    assert house.process.returncode == 1
    assert "Traceback" not in house.said


def test_a_database_starts_over_the_lock_of_one_that_was_killed_and_that_nobody_has_buried(tmp_path: Path) -> None:
    first, second = (Postgres(tmp_path / "postgres", durable=False) for _ in range(2))
    try:
        first.start()
        killed = first.process
        assert killed is not None
        killed.send_signal(signal.SIGKILL)
        # As a container without an init leaves it: ended, and its number still taken, as we do not ask how it ended.
        wait_until(lambda: " Z " in Path(f"/proc/{killed.pid}/stat").read_text(), "it has ended")
        wait_until(lambda: not any(works_in(pid, first.folder) for pid in numbers()), "its helpers have ended too")
        assert (first.folder / "postmaster.pid").exists()
        second.start()
        assert second.alive
    finally:
        first.close()
        second.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="for everybody else it runs as themselves, who may read their own files")
def test_a_database_of_root_starts_from_programs_that_roots_umask_has_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = _programs().parents[1]
    closed = tmp_path / "site-packages"
    for name in (f"{package.name}/pginstall18", f"{package.name}.libs"):
        shutil.copytree(package.parent / name, closed / name, symlinks=True)
    (closed / package.name / "__init__.py").touch()
    for path in (closed, *closed.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
    monkeypatch.syspath_prepend(closed)
    assert _programs().is_relative_to(closed)
    database = Postgres(tmp_path / "postgres", durable=False)
    try:
        database.start()
        assert database.alive
    finally:
        database.close()


def test_any_other_port_is_one() -> None:
    assert (port_number("0"), port_number("8000"), port_number("65515")) == (0, 8000, 65515)


@pytest.mark.parametrize("port", ["70000", "-1", "65535"])
def test_a_port_that_is_none_is_refused_with_a_sentence(port: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"a port is a number from 1 to 65515, not {port}"):
        port_number(port)


def test_a_port_that_is_taken_is_said_and_the_next_one_used() -> None:
    lines: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        if port > 65000:
            pytest.skip("the system gave a port that has too few after it")
        with listen("127.0.0.1", port, lambda _, line: lines.append(line)) as made:
            assert made.getsockname()[1] > port
            assert lines == [f"Port {port} is taken; using {made.getsockname()[1]}."]


def test_a_folder_that_cannot_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """As when it was begun by root. A file in its place does the same for whoever may write everywhere."""
    (tmp_path / "var").write_text("")
    with (
        pytest.raises(ServerNotStarted, match=r"Nothing can be kept in .*/var/inside"),
        private_servers(tmp_path / "var" / "inside"),
    ):
        pass


def test_the_folder_is_ones_own_also_where_the_servers_are_named(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        named = {
            "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/nothing",
            "REDIS_URL": "redis://127.0.0.1:1/0",
        }
        with (
            pytest.raises(NotStarted, match="The database cannot be reached"),
            running(tmp_path / "var", lambda *_: None, environment=named),
        ):
            pass
    finally:
        os.umask(before)
    assert not (tmp_path / "var").stat().st_mode & 0o077


def test_an_address_of_another_machine_is_refused_with_a_sentence() -> None:
    with pytest.raises(NotStarted, match=r"Nobody can listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 8000, lambda *_: None)


def test_who_was_told_to_outlive_the_terminal_does() -> None:
    """`nohup make up`: the signal that a closing terminal sends is ignored from the start, and stays so."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        Told().listen()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        told = Told()
        told.listen()
        signal.raise_signal(signal.SIGHUP)
        assert told.is_set()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_web_process_is_healthy_without_torch_and_without_a_database(tmp_path: Path) -> None:
    """How soon it is so is a measurement: `python -m benchmarks.front_end`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/healthz"
        number = listening.fileno()
        environment = {**os.environ, "BLOB_FOLDER": str(tmp_path), "DATABASE_URL": "postgresql+psycopg://127.0.0.1:1/x"}
        with subprocess.Popen(
            [sys.executable, "-m", "app.serve", "--fd", str(number)], cwd=ROOT, env=environment, pass_fds=[number]
        ) as process:
            try:
                assert httpx.get(address, timeout=120, trust_env=False).text == "ok"
                loaded = Path(f"/proc/{process.pid}/maps").read_text()
            finally:
                process.terminate()
    assert not re.search(r"/torch/", loaded)


def numbers() -> list[int]:
    """Of all processes."""
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
