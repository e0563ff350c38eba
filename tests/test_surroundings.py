"""The tests have a database, a broker and a folder of their own, whatever service their developer has at hand."""

import os
import subprocess
import sys
from pathlib import Path

from app.config import variables

ROOT = Path(__file__).resolve().parents[1]


def test_no_setting_is_in_the_environment() -> None:
    assert variables() & os.environ.keys() == set()


def test_settings_that_a_developer_has_exported_are_not_there_for_the_tests(tmp_path: Path) -> None:
    """A worker that is started as a process would prefer the file to the database that the test gives it."""
    secret = tmp_path / "where"
    secret.write_text("postgresql://somebody@own/database")
    exported = {"DATABASE_URL_FILE": str(secret), "REDIS_URL": "redis://own:6379/0", "LEASE_S": "0", "DEVICE": "cuda"}
    one = f"{Path(__file__).relative_to(ROOT)}::{test_no_setting_is_in_the_environment.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", one],
        cwd=ROOT,
        env={**os.environ, **exported},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout + done.stderr
