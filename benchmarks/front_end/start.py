"""How long the web process takes from its start to its first answer."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import httpx

ROOT = Path(__file__).resolve().parents[2]
TIMES = 5
PATIENCE_S = 120.0


def seconds_until_healthy(folder: Path, times: int = TIMES) -> list[float]:
    """Of so many starts, one after another, without a database: none is asked for `/healthz`.

    folder: for what it would keep. The socket is open beforehand, as by `make up`, so that the request waits for the
    process and nobody has to ask again and again.
    """
    return [_start_once(folder) for _ in range(times)]


def _start_once(folder: Path) -> float:
    nowhere = {"DATABASE_URL": "postgresql+psycopg://127.0.0.1:1/x", "BLOB_FOLDER": str(folder)}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number, port = listening.fileno(), listening.getsockname()[1]
        begun = time.perf_counter()
        with subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "app.serve", "--fd", str(number)],
            cwd=ROOT,
            env={**os.environ, **nowhere},
            pass_fds=[number],
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S, trust_env=False).raise_for_status()
                return time.perf_counter() - begun
            finally:
                process.terminate()


def figures_of_start(seconds: list[float]) -> dict[str, object]:
    return {"seconds": [round(one, 3) for one in seconds], "median_s": round(median(seconds), 3)}
