"""The web process as it is served: behind a proxy, it knows people apart, and believes nobody else about them."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from app.bodies import BodyLimit
from app.config import Settings, read_settings
from app.db import Sessions
from app.generations import api
from app.jobs.stream import ALIVE_EVERY_S
from app.openai import api as openai
from app.serve import make_server

PROXY = "10.0.0.7"


@pytest.fixture
def served(config: Settings, sessions: Sessions) -> Iterator[TestClient]:
    """Reached through a proxy at that address; two log-in attempts a minute."""
    behind = config.model_copy(update={"forwarded_allow_ips": PROXY, "login_rate": "2/minute"})
    server = make_server(behind, "127.0.0.1", 0)
    server.config.load()
    with TestClient(server.config.loaded_app, client=(PROXY, 1)) as client:
        yield client


def attempt(client: TestClient, name: str, address: str) -> int:
    headers = {"X-Forwarded-For": address, "Accept": "text/html"}
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/login", headers=headers).text)
    assert found
    data = {"csrf_token": found[1], "name": name, "password": "a long enough one"}
    return client.post("/login", data=data, headers=headers).status_code


def test_attempts_are_counted_for_whoever_is_behind_the_proxy(served: TestClient) -> None:
    assert [attempt(served, f"guess-{number}", "192.0.2.1") for number in range(3)] == [401, 401, 429]
    assert attempt(served, "ada", "192.0.2.2") == 401


def test_whoever_is_no_proxy_is_not_believed(served: TestClient) -> None:
    eve = TestClient(served.app, client=("192.0.2.9", 1))
    assert [attempt(eve, f"guess-{number}", f"192.0.2.{number}") for number in range(3)] == [401, 401, 429]


def test_a_proxy_may_be_believed_by_its_network(config: Settings, sessions: Sessions) -> None:
    behind = config.model_copy(update={"forwarded_allow_ips": "127.0.0.1,10.0.0.0/24", "login_rate": "2/minute"})
    server = make_server(behind, "127.0.0.1", 0)
    server.config.load()
    with TestClient(server.config.loaded_app, client=(PROXY, 1)) as client:
        assert [attempt(client, f"guess-{number}", f"192.0.2.{number}") for number in range(3)] == [401, 401, 401]


def test_the_page_about_proxies_lets_through_what_the_web_process_takes_and_waits_as_long_as_it_does(
    config: Settings,
) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "proxy.md").read_text(encoding="utf-8")
    most_bytes = BodyLimit(Starlette(), config).upload_bytes
    (body_mb,) = re.findall(r"client_max_body_size (\d+)m;", page)
    assert int(body_mb) * 1_000_000 >= most_bytes
    assert f"{most_bytes // 1_000_000} MB" in page
    (read_s,) = re.findall(r"proxy_read_timeout (\d+)s;", page)
    assert int(read_s) > max(api.LONGEST_WAIT_S, openai.LONGEST_WAIT_S)
    assert f"up to {openai.LONGEST_WAIT_S} s" in page
    assert re.search(rf"`Prefer: wait` for\s+up to {api.LONGEST_WAIT_S} s", page)
    assert f"every {ALIVE_EVERY_S:.0f} s at least" in page
    settings = dict(re.findall(r"^([A-Z_]+)=(\S+)$", page, re.MULTILINE))
    assert set(settings) == {"PUBLIC_URL", "BEHIND_TLS", "FORWARDED_ALLOW_IPS"}
    assert read_settings(settings).behind_tls


def test_addresses_to_copy_have_the_scheme_that_people_use(served: TestClient) -> None:
    asked = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1", "Host": "pictures.example"}
    assert "https://pictures.example/api/v1/histories" in served.get("/api/docs", headers=asked).text


@pytest.mark.usefixtures("sessions")
def test_the_administrators_link_has_the_port_at_which_the_container_is_published(config: Settings) -> None:
    named = {
        "DATABASE_URL": config.database_url,
        "REDIS_URL": config.redis_url,
        "BLOB_FOLDER": str(config.blob_folder),
        "PUBLISH": "127.0.0.1:9000",
    }
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = str(listening.fileno())
        with subprocess.Popen(
            [sys.executable, "-m", "app.serve", "--fd", number, "--first-run-link"],
            env={**os.environ, **named},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            pass_fds=[listening.fileno()],
        ) as process:
            assert process.stdout is not None
            try:
                said = process.stdout.readline(), process.stdout.readline()
            finally:
                process.terminate()
    assert said[1].startswith("  http://127.0.0.1:9000/first-run?token=")
