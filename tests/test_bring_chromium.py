"""Chromium is brought where it can be, and its absence stops nobody."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import bring_chromium
from tests.bring_chromium import bring

Fetch = Callable[[Path], None]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One on a machine without a browser."""
    monkeypatch.setattr(bring_chromium, "find_chromium", lambda: None)
    (tmp_path / "bin").mkdir()
    return tmp_path


def fetching(script: str) -> Fetch:
    def fetch(folder: Path) -> None:
        program = folder / "chromium_headless_shell-1" / "chrome-linux" / "headless_shell"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return fetch


def never(_folder: Path) -> None:
    raise AssertionError("nothing was to be fetched")


def test_one_that_is_there_is_left_alone(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bring_chromium, "find_chromium", lambda: "somewhere/chromium")
    said: list[str] = []
    assert bring(environment, said.append, never)
    assert said == []


def test_one_that_was_fetched_is_a_program_of_the_environment(environment: Path) -> None:
    assert bring(environment, lambda _: None, fetching("echo Chromium 1"))
    done = subprocess.run([environment / "bin" / "chromium"], capture_output=True, text=True, check=True)
    assert done.stdout == "Chromium 1\n"
    assert bring(environment, lambda _: None, never)  # once is enough


@pytest.mark.parametrize("error", [subprocess.CalledProcessError(1, "x"), subprocess.TimeoutExpired("x", 1)])
def test_without_a_network_it_is_said_and_nothing_more(environment: Path, error: Exception) -> None:
    def fail(_folder: Path) -> None:
        raise error

    said: list[str] = []
    assert not bring(environment, said.append, fail)
    assert "it cannot be fetched" in said[-1]
    assert "will be skipped" in said[-1]


def test_one_that_lacks_libraries_is_not_used(environment: Path) -> None:
    said: list[str] = []
    assert not bring(environment, said.append, fetching("exit 127"))
    assert "does not run here" in said[-1]
    assert not (environment / "bin" / "chromium").exists()
