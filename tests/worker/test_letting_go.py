"""What a job that ends without its result held on the device is free again at once, and not when Python next looks."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from app.jobs.models import JobState
from cns.denoise import GenerationRun
from cns.learning import LearningRun
from tests.worker.processes import wait_until
from tests.worker.world import World
from worker import painting
from worker.generating import generate
from worker.learning import learn
from worker.process import Worker


@contextmanager
def nobody_looking_for_rings() -> Iterator[None]:
    """Whatever is freed meanwhile is held by nothing."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def cancel(worker: Worker) -> None:
    worker.hands.held()[0].cancel()


def run_out_of_memory(_worker: Worker) -> None:
    raise torch.OutOfMemoryError("no memory")


@pytest.mark.parametrize("act", [cancel, run_out_of_memory])
def test_a_learning_that_is_put_down_or_fails_holds_no_memory(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, act: Callable[[Worker], None]
) -> None:
    seen: list[weakref.ref[LearningRun]] = []
    original = LearningRun.step

    def step(run: LearningRun) -> float:
        if run.steps_done == 3:
            seen.append(weakref.ref(run))
            act(worker)
        return original(run)

    monkeypatch.setattr(LearningRun, "step", step)
    job = world.learning(world.history())
    with nobody_looking_for_rings():
        learn(worker, job)
        assert world.job(job).state in (JobState.CANCELLED, JobState.FAILED)
        wait_until(lambda: seen[0]() is None, "nothing holds the learning any more", patience_s=20)


def test_pictures_that_fail_hold_no_memory(worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref[GenerationRun]] = []

    class Watched(GenerationRun):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            seen.append(weakref.ref(self))

    def fail(*_given: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(painting, "GenerationRun", Watched)
    monkeypatch.setattr(painting, "denoise_step", fail)
    job = world.generation(world.history(), "a dog")
    with nobody_looking_for_rings():
        generate(worker, job)
        assert world.job(job).state == JobState.FAILED
        wait_until(lambda: seen[0]() is None, "nothing holds the picture any more", patience_s=20)
