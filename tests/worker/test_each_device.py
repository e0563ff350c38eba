"""One worker a device: who gets which, and that they start and stop together."""

import threading

import pytest

from app.up import Told
from worker.each_device import VISIBLE, places, run

TELLS = """
import os, time
print("on", os.environ["CUDA_VISIBLE_DEVICES"], os.environ["DEVICE"])
time.sleep(99)
"""


@pytest.mark.parametrize(
    ("visible", "gpus", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("3,GPU-8f5a", 0, ["3", "GPU-8f5a"]),
        (" 1 ", 4, ["1"]),
    ],
)
def test_each_worker_sees_one_gpu(visible: str | None, gpus: int, expected: list[str]) -> None:
    environment = {} if visible is None else {VISIBLE: visible}
    assert places(environment, gpus) == [{VISIBLE: number, "DEVICE": "cuda"} for number in expected]


@pytest.mark.parametrize("visible", [None, "", "-1"])
def test_without_a_gpu_there_is_one_worker_where_the_settings_say(visible: str | None) -> None:
    assert places({} if visible is None else {VISIBLE: visible}, 0) == [{}]


def test_they_start_together_and_stop_when_told(capfd: pytest.CaptureFixture[str]) -> None:
    told = Told()
    done: list[int] = []
    running = threading.Thread(target=lambda: done.append(run(places({}, 2), told, ("-c", TELLS))))
    running.start()
    heard = ""
    while heard.count("| on") < 2:
        assert running.is_alive()
        heard += capfd.readouterr().out
    told.set()
    running.join(60)
    assert done == [0]
    assert sorted(heard.splitlines()) == ["worker 0   | on 0 cuda", "worker 1   | on 1 cuda"]
