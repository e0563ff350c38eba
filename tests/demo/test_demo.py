"""The demo over real services, small: what it writes, what it compares, and that nothing is left of it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

import demo.site
from app.instance import NotStarted
from demo.__main__ import Choices, Outcome, main, run
from demo.rest import Waited
from demo.results import check_service, describe_waits, same_files
from demo.site import environment_for
from storybook import MODEL_FOLDER, SAMPLES_FOLDER
from storybook.demo import open_demo
from storybook.demo_plan import Settings
from storybook.demo_report import SECONDS
from tests.worker.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("zigi", "momo")
SMALL = Settings(steps=2, seeds=2)
CHANGES: tuple[tuple[str, Any], ...] = (("steps", 3), ("batch", 2))


def children() -> set[int]:
    """The processes that this one has started and that still run."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(entry.name))
    return found


def marked(mark: str) -> list[str]:
    """The processes, of whatever parent, that have `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def demonstrated(judged_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path, list[str]]:
    """One demo of two concepts: what came of it, where it was written, and the stages that were told of."""
    out = tmp_path_factory.mktemp("demo-out")
    stages: list[str] = []
    before = children()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql+psycopg://nobody@nowhere.invalid/theirs")  # not the demo's business
        outcome = run(
            Choices(out, judged_folder, names=NAMES, settings=SMALL, changes=CHANGES),
            lambda stage, done, total: stages.append(stage),
        )
    assert children() == before
    return outcome, out, stages


def test_the_service_learns_the_same_bytes_as_the_library(demonstrated: tuple[Outcome, Path, list[str]]) -> None:
    outcome, _, stages = demonstrated
    compared = [check for check in outcome.checks if "learned the same bytes" in check.sentence]
    assert [check.sentence.partition(":")[0] for check in compared] == list(NAMES)
    assert all(check.holds for check in compared)
    assert "the library alone: momo" in stages


def test_what_does_not_depend_on_the_quality_of_pictures_holds(demonstrated: tuple[Outcome, Path, list[str]]) -> None:
    outcome, _, _ = demonstrated
    beyond_quality = [check for check in outcome.checks if "looks more like" not in check.sentence]
    beyond_quality = [check for check in beyond_quality if "of its likeness" not in check.sentence]
    beyond_quality = [check for check in beyond_quality if "are like the base's" not in check.sentence]
    assert len(beyond_quality) == 3 + 4 + 2
    assert [check.sentence for check in beyond_quality if not check.holds] == []


def test_the_report_is_that_of_the_library_demo(demonstrated: tuple[Outcome, Path, list[str]]) -> None:
    outcome, out, _ = demonstrated
    report = json.loads((out / "report.json").read_text())
    assert list(report) == ["base", "versions", "scores", "zero_shot", "two_concepts", "rollback", "seconds_total"]
    assert list(report["versions"][0]) == [
        *("number", "concept", "delta_sha256", "bytes", "seconds", "density", "overlap", "loss", "diagnosis")
    ]
    assert [list(version["seconds"]) for version in report["versions"]] == [list(SECONDS)] * 2
    assert [version["concept"] for version in report["versions"]] == list(NAMES)
    assert [len(version["loss"]) for version in report["versions"]] == [3, 3]
    assert all(version["diagnosis"] for version in report["versions"])
    assert report["rollback"] == {"version": 1, "identical": True}
    assert report["base"]["sha256_before"] == report["base"]["sha256_after"]
    assert report["base"]["id"] == outcome.told.base_id
    assert [(score["version"], score["concept"]) for score in report["scores"]] == [
        *((0, "zigi"), (0, "momo"), (1, "zigi"), (2, "zigi"), (2, "momo"))
    ]
    assert [entry["version"] for entry in report["zero_shot"]] == [0, 1, 2]
    assert [entry["version"] for entry in report["two_concepts"]] == [2]
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.width > 12 * 128


def test_every_request_is_written_down_with_its_time(demonstrated: tuple[Outcome, Path, list[str]]) -> None:
    outcome, out, _ = demonstrated
    waits = json.loads((out / "waits.json").read_text())
    # 12 panels on the base, 8 at version 1, 12 at version 2, 8 again, and the 5 generic ones on the base again.
    assert [waited["asked"] for waited in waits].count("pictures") == 12 + 8 + 12 + 8 + 5
    assert [waited["about"] for waited in waits if waited["asked"] == "learning"] == list(NAMES)
    assert all(0 <= waited["queued_s"] < waited["answered_s"] and waited["worked_s"] > 0 for waited in waits)
    assert len(describe_waits(outcome.told.waits)) == 2


def test_nothing_secret_is_in_what_the_service_said(demonstrated: tuple[Outcome, Path, list[str]]) -> None:
    _, out, _ = demonstrated
    log = (out / "service.log").read_text()
    assert "ready." in log
    assert "pk_" not in log
    assert "first-run?token" not in log


def test_whatever_is_wrong_with_the_service_fails_its_check(
    demonstrated: tuple[Outcome, Path, list[str]], judged_folder: Path
) -> None:
    told = demonstrated[0].told
    model = open_demo(judged_folder, SAMPLES_FOLDER, NAMES)
    digests = [version.delta for version in told.versions]
    other = "0" * 64
    assert all(check.holds for check in check_service(model, told, digests))
    assert len(check_service(model, told, None)) == len(check_service(model, told, digests)) - 2
    for wrong, library, sentence in (
        (told, [digests[0], other], "momo: the service and the library learned"),
        (replace(told, base_id=other), digests, "The service works on the base"),
        (replace(told, base_again={**told.base_again, next(iter(told.base_again)): b"x"}), digests, "untouched base"),
        (replace(told, heads=(1, 2, 2, 2)), digests, "Head stood at 1, 2, 2, 2"),
        (replace(told, delta_files=(other, digests[1])), digests, "Each downloaded delta"),
    ):
        failed = [check.sentence for check in check_service(model, wrong, library) if not check.holds]
        assert len(failed) == 1
        assert failed[0].startswith(sentence) or sentence in failed[0]


def test_no_pictures_are_not_the_same_pictures() -> None:
    assert same_files({(0, 0): b"a"}, {(0, 0): b"a"})
    assert not same_files({(0, 0): b"a"}, {(0, 0): b"b"})
    assert not same_files({}, {})


def test_times_are_told_in_a_sentence() -> None:
    waits = [Waited("pictures", 1, "a mug", 0.1, 1.0, seconds) for seconds in (1.0, 2.0, 6.0)]
    assert describe_waits(waits) == [
        "3 x pictures: begun 0.10 s after being asked for (at most 0.10 s), all there after 2.0 s (at most 6.0 s)."
    ]


def test_settings_of_another_service_do_not_reach_the_demo(
    monkeypatch: pytest.MonkeyPatch, judged_folder: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://yours")
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", "yours")
    monkeypatch.setenv("LEASE_S", "1")
    monkeypatch.setenv("LANGUAGE_OF_THE_LAND", "kept")
    environment = environment_for(judged_folder)
    assert not {"DATABASE_URL", "DATABASE_PASSWORD_FILE", "LEASE_S"} & environment.keys()
    assert environment["LANGUAGE_OF_THE_LAND"] == "kept"
    assert environment["BASE_MODEL"] == str(judged_folder.resolve())
    assert environment_for(MODEL_FOLDER)["BASE_MODEL"] == "storybook"


def test_a_worker_that_does_not_start_ends_the_demo_and_leaves_nothing(
    judged_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = environment_for(judged_folder) | {"BASE_MODEL": str(tmp_path / "nowhere")}
    monkeypatch.setattr(demo.site, "environment_for", lambda base: nowhere)
    before = children()
    with pytest.raises(NotStarted, match="The worker did not start"):
        run(Choices(tmp_path / "out", judged_folder, names=NAMES, settings=SMALL, changes=CHANGES))
    assert children() == before
    assert "There is no base model at" in (tmp_path / "out" / "service.log").read_text()


def test_a_demo_that_is_told_to_stop_leaves_nothing(judged_folder: Path, tmp_path: Path) -> None:
    mark, log = uuid4().hex, tmp_path / "service.log"
    command = [
        sys.executable,
        "-m",
        "demo",
        "--base",
        str(judged_folder),
        "--out",
        str(tmp_path),
        "--learning-steps=20000",
    ]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "A_MARK": mark}, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            wait_until(
                lambda: (log.exists() and "ready." in log.read_text()) or process.poll() is not None, "it is up", 300
            )
            assert len(marked(mark)) > 3  # itself, web, worker, servers
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, said.decode()
    assert b"nothing is left running" in said
    wait_until(lambda: not marked(mark), "everything it started is gone", 30)


def test_a_demo_without_a_base_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo", "--base", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", arguments)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert main() == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert "There is no base model at" in capsys.readouterr().err
