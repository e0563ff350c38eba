"""Files that belong to another database are left alone, however much nobody in this one refers to them."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import delete, func, select, text

from app import blobs, collect
from app.accounts.models import LoginSession
from app.blobs import Blob
from app.concepts.models import Upload
from app.config import Settings, settings
from app.db import Sessions
from app.installation import MARKS, Installation, NotOurs, adopt, claim
from app.servers import Servers
from app.storage import BlobStore
from tests.app import make
from tests.app.person import png
from tests.app.s3 import make_old
from tests.worker.processes import wait_until


def keep(sessions: Sessions, store: BlobStore, count: int = 3) -> set[str]:
    """Pictures that somebody has uploaded, all of them old enough to be collected."""
    with sessions() as session:
        owner = make.user(session, uuid4().hex).id
        digests = {blobs.keep(session, store, png(seed=number), "image/png") for number in range(count)}
        session.add_all(
            Upload(owner_id=owner, blob_sha256=digest, file_name="a.png", width_px=1, height_px=1) for digest in digests
        )
        session.commit()
    age(sessions, store)
    return digests


def age(sessions: Sessions, store: BlobStore) -> None:
    make_old(store)
    with sessions() as session:
        session.execute(text("UPDATE blobs SET created_at = now() - interval '2 hours'"))
        session.commit()


def lose(sessions: Sessions) -> None:
    """As `migrate` makes a database anew where there is none."""
    with sessions() as session:
        for table in (Upload, Blob, Installation):
            session.execute(delete(table))
        session.commit()


def stored(store: BlobStore) -> set[str]:
    return {digest for digest, _ in store.digests()}


def marks(store: BlobStore) -> list[str]:
    return [file.name for file in store.blobs.all(under=MARKS)]


@pytest.mark.usefixtures("each_kind")
def test_files_of_a_database_that_was_lost_are_still_there_whether_they_were_marked_or_not(
    sessions: Sessions, store: BlobStore
) -> None:
    digests = keep(sessions, store)
    lose(sessions)
    with pytest.raises(NotOurs, match=r"^No stored file was removed: this database knows 0 of the 3 files there are\."):
        collect.collect(sessions, store)
    assert (stored(store), marks(store)) == (digests, [])
    store.blobs.write(f"{MARKS}/{uuid4()}", b"of another one")
    make_old(store)
    with pytest.raises(NotOurs, match=r"^No stored file was removed: the files belong to another database than this"):
        collect.collect(sessions, store)
    assert stored(store) == digests


@pytest.mark.usefixtures("each_kind")
def test_what_expires_in_the_database_alone_goes_all_the_same(sessions: Sessions, store: BlobStore) -> None:
    store.blobs.write(f"{MARKS}/{uuid4()}", b"of another one")
    with sessions() as session:
        login = LoginSession(user_id=make.user(session).id, token_sha256="0" * 64, csrf_token="", expires_at=func.now())
        session.add(login)
        session.commit()
    with pytest.raises(NotOurs):
        collect.collect(sessions, store)
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(LoginSession)) == 0


@pytest.mark.usefixtures("each_kind")
def test_files_from_before_there_were_marks_are_those_of_the_database_that_knows_them(
    sessions: Sessions, store: BlobStore
) -> None:
    digests = keep(sessions, store)
    undone = store.put(b"its transaction was undone")
    age(sessions, store)
    assert collect.collect(sessions, store).blobs == 1
    assert stored(store) == digests
    assert not store.has(undone)
    assert len(marks(store)) == 1


@pytest.mark.usefixtures("each_kind")
def test_a_picture_that_two_databases_have_in_common_does_not_make_the_files_of_one_those_of_the_other(
    sessions: Sessions, store: BlobStore
) -> None:
    digests = keep(sessions, store)
    lose(sessions)
    keep(sessions, store, count=1)
    with pytest.raises(NotOurs, match="knows 1 of the 3 files"):
        collect.collect(sessions, store)
    assert stored(store) == digests


@pytest.mark.usefixtures("each_kind")
def test_a_person_who_has_made_sure_makes_the_files_those_of_this_database(
    sessions: Sessions, store: BlobStore
) -> None:
    keep(sessions, store)
    claim(sessions, store)
    before = marks(store)
    lose(sessions)
    kept = keep(sessions, store, count=2)
    assert adopt(sessions, store) == (3, 2)
    assert len(marks(store)) == 1
    assert marks(store) != before
    assert collect.collect(sessions, store).blobs == 1
    assert stored(store) == kept


@pytest.mark.usefixtures("each_kind")
def test_a_restored_dump_and_its_files_know_each_other(sessions: Sessions, store: BlobStore) -> None:
    """The dump has the name, the copied files have the mark: nothing more is to be done."""
    digests = keep(sessions, store)
    claim(sessions, store)
    with sessions() as session:
        dumped = session.scalars(select(Installation.name)).one()
    lose(sessions)
    with sessions() as session:
        session.add(Installation(name=dumped))
        session.commit()
    keep(sessions, store)
    collect.collect(sessions, store)
    assert stored(store) == digests


@pytest.mark.usefixtures("each_kind")
def test_of_two_who_come_to_the_same_files_at_once_one_has_them_at_the_most(
    sessions: Sessions, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has looked, found no mark, and only then makes its own."""
    both_looked = threading.Barrier(2)
    names = [f"{MARKS}/{uuid4()}" for _ in range(2)]
    mine = threading.local()
    monkeypatch.setattr("app.installation._own_mark", lambda _: mine.name)
    monkeypatch.setattr("app.installation._check_known", lambda *_: both_looked.wait(30))

    def come(name: str) -> bool:
        mine.name = name
        try:
            claim(sessions, store)
        except NotOurs:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        has = dict(zip(names, pool.map(come, names), strict=True))
    assert marks(store) == [name for name in names if has[name]]


def test_two_collectors_of_one_database_agree(sessions: Sessions, store: BlobStore) -> None:
    together = threading.Barrier(4)

    def come(_: int) -> None:
        together.wait(30)
        claim(sessions, store)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come, range(4)))
    assert len(marks(store)) == 1


def test_a_collector_that_goes_on_says_each_time_whose_the_files_are_not(
    sessions: Sessions, store: BlobStore, config: Settings
) -> None:
    digests = keep(sessions, store)
    lose(sessions)
    stop, said = threading.Event(), []

    def say(_: str, line: str) -> None:
        said.append(line)
        if len(said) == 3:
            stop.set()

    collect.keep_collecting(config, stop, 0.001, say)
    assert len(said) == 3
    assert all("this database knows 0 of the 3 files there are" in line for line in said)
    assert stored(store) == digests


@pytest.fixture
def on_its_own(
    store: BlobStore, config: Settings, sessions: Sessions
) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start `python -m app.collect --every-hours 1` over that store with this LOG_LEVEL, and lines in JSON."""
    started: list[subprocess.Popen[str]] = []

    def start(level: str) -> subprocess.Popen[str]:
        named = {"DATABASE_URL": config.database_url, "BLOB_FOLDER": str(config.blob_folder)}
        process = subprocess.Popen(
            [sys.executable, "-m", "app.collect", "--every-hours", "1"],
            env={**os.environ, **named, "LOG_FORMAT": "json", "LOG_LEVEL": level},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:  # which closes its pipe and waits
            process.kill()


def read_line(process: subprocess.Popen[str]) -> tuple[str, str, str]:
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    return line["level"], line["event"], line["said"]


def test_a_collector_of_its_own_warns_of_files_that_are_not_this_databases(
    sessions: Sessions, store: BlobStore, on_its_own: Callable[[str], subprocess.Popen[str]]
) -> None:
    keep(sessions, store)
    lose(sessions)
    level, event, said = read_line(on_its_own("WARNING"))
    assert (level, event) == ("warning", "not_collected")
    assert "this database knows 0 of the 3 files there are" in said


def test_what_a_collector_of_its_own_has_done_is_told_to_who_wants_to_know(
    sessions: Sessions, store: BlobStore, on_its_own: Callable[[str], subprocess.Popen[str]]
) -> None:
    claim(sessions, store)
    store.put(b"nobody's")
    make_old(store)
    assert read_line(on_its_own("INFO")) == ("info", "collected", "1 unused files removed, 0.0 MB.")
    digest = store.put(b"nobody's either")
    make_old(store)
    process = on_its_own("WARNING")
    wait_until(lambda: not store.has(digest), "it has collected")
    process.terminate()
    assert (process.communicate()[0], process.returncode) == ("", 0)


@pytest.fixture
def at_the_prompt(
    store: BlobStore, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Run `python -m app.collect` with these words over that store."""
    named = {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "BLOB_FOLDER": str(tmp_path / "blobs"),
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["collect", *words])
        settings.cache_clear()
        try:
            collect.main()
        finally:
            settings.cache_clear()

    return run


def test_the_command_ends_with_a_sentence_until_a_person_says_that_the_files_are_this_databases(
    sessions: Sessions, store: BlobStore, at_the_prompt: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    digests = keep(sessions, store)
    lose(sessions)
    with pytest.raises(SystemExit, match=r"^No stored file was removed: .* `python -m app\.collect --adopt` says so"):
        at_the_prompt()
    assert stored(store) == digests
    at_the_prompt("--adopt")
    assert "It knows 0 of 3; collecting removes the others." in capsys.readouterr().out
    assert stored(store) == digests
    at_the_prompt()
    assert "3 unused files removed" in capsys.readouterr().out
