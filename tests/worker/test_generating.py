"""A generation from its row to its pictures, in a worker without Celery."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import update

from app.generations import regions
from app.jobs.models import Job, JobState
from cns.base_model import BaseModel
from cns.compose import compose
from cns.denoise import GenerationRequest, to_pictures
from cns.denoise import generate as generate_alone
from cns.recipe import recipe_of, to_png
from cns.regions import MOST_REGIONS, Region
from tests.worker.processes import wait_until
from tests.worker.test_engine import rows_of_calls
from tests.worker.world import World
from worker import generating
from worker.generating import generate
from worker.learning import learn
from worker.process import Worker
from worker.versions import Versions

PATIENCE_S = 300


def together(worker: Worker, *jobs: UUID) -> None:
    """Do several generations at the same time, as the threads of the pool do; the engine begins when all have asked."""
    all_asked, begin = threading.Event(), threading.Event()

    def hold_the_engine() -> None:
        begin.set()
        all_asked.wait(PATIENCE_S)

    held = worker.engine.turn(hold_the_engine)
    assert begin.wait(PATIENCE_S)
    threads = [threading.Thread(target=generate, args=(worker, job)) for job in jobs]
    for thread in threads:
        thread.start()
    wait_until(lambda: worker.engine.orders_waiting == len(jobs), "all have asked")
    all_asked.set()
    held.result(PATIENCE_S)
    for thread in threads:
        thread.join(PATIENCE_S)


@contextmanager
def a_base_that_never_ends(base: BaseModel) -> Iterator[threading.Event]:
    """Every call of the UNet waits for the event: pictures are on their way for as long as a test likes."""
    go_on = threading.Event()
    handle = base.unet.register_forward_pre_hook(lambda *_: (go_on.wait(0.05), None)[1])
    try:
        yield go_on
    finally:
        go_on.set()
        handle.remove()


def test_a_picture_is_the_one_that_the_library_makes_with_its_recipe_inside(worker: Worker, world: World) -> None:
    history = world.history()
    learn(worker, world.learning(history))
    job = world.generation(history, "a photo of a <rex> dog", version=1, seed=11, sampler="euler")
    assert generate(worker, job)
    base = worker.equipment.base
    deltas = worker.versions.deltas([world.version(history, 1).delta_sha256])
    asked = GenerationRequest("a photo of a <rex> dog", "", 11, 4, 4.0, "euler", 16, 16)
    (picture,) = to_pictures(generate_alone(base, compose(base, deltas), [asked]))
    assert world.pngs(job) == [to_png(picture, recipe_of(base, deltas, asked, 1))]
    assert world.job(job).state == JobState.DONE
    (recipe,) = world.recipes(job)
    assert (recipe["version"], recipe["deltas"][0]["concept"]) == (1, "rex")


def test_a_picture_with_regions_is_the_one_that_the_library_makes(worker: Worker, world: World) -> None:
    """Its regions reach the engine and the recipe, and both sides take as many."""
    boxes = (Region("a dog", 0, 0, 0.5, 1), Region("a cat at night", 0.4, 0.5, 1, 1))
    assert MOST_REGIONS == regions.MOST_REGIONS
    job = world.generation(world.history(), "a house", regions=[asdict(box) for box in boxes])
    assert generate(worker, job)
    base = worker.equipment.base
    asked = GenerationRequest("a house", "", 7, 4, 4.0, "ddim", 16, 16, boxes)
    (picture,) = to_pictures(generate_alone(base, compose(base), [asked]))
    assert world.pngs(job) == [to_png(picture, recipe_of(base, (), asked, 0))]
    (recipe,) = world.recipes(job)
    assert recipe["regions"] == [asdict(box) for box in boxes]


@pytest.mark.parametrize("apart", [True, False])
def test_whether_concepts_keep_apart_reaches_the_engine_and_the_recipe(
    worker: Worker, world: World, apart: bool
) -> None:
    history = world.history()
    learn(worker, world.learning(history, "rex", "dog", reach="token"))
    learn(worker, world.learning(history, "momo", "cat", reach="token"))
    prompt = "a photo of a <rex> dog and a <momo> cat"
    job = world.generation(history, prompt, version=2, apart=apart)
    assert generate(worker, job)
    base = worker.equipment.base
    deltas = worker.versions.deltas([world.version(history, number).delta_sha256 for number in (1, 2)])
    asked = GenerationRequest(prompt, "", 7, 4, 4.0, "ddim", 16, 16, apart=apart)
    (picture,) = to_pictures(generate_alone(base, compose(base, deltas), [asked]))
    assert world.pngs(job) == [to_png(picture, recipe_of(base, deltas, asked, 2))]
    assert world.recipes(job)[0]["apart"] is apart


def test_two_users_requests_of_two_versions_go_through_one_batch(worker: Worker, world: World) -> None:
    """Each picture equals the one made alone, though all were made by the same calls of the UNet."""
    ada, ben = world.history("ada", "hers"), world.history("ben", "his")
    learn(worker, world.learning(ada, "rex", "dog"))
    learn(worker, world.learning(ben, "rex", "cat"))
    asked = [
        world.generation(ada, "a photo of a <rex> dog", version=1, seed=1),
        world.generation(ben, "a photo of a <rex> cat on the grass", version=1, seed=2),
        world.generation(ben, "a photo of a mug", seed=3, guidance=1.0),
    ]
    with rows_of_calls(worker.equipment.base) as rows:
        together(worker, *asked)
    assert rows == [5] * 4
    alone = [
        world.generation(ada, "a photo of a <rex> dog", version=1, seed=1),
        world.generation(ben, "a photo of a <rex> cat on the grass", version=1, seed=2),
        world.generation(ben, "a photo of a mug", seed=3, guidance=1.0),
    ]
    for job in alone:
        generate(worker, job)
    for one, other in zip(asked, alone, strict=True):
        (batched,), (single,) = world.pictures(one), world.pictures(other)
        difference = np.abs(np.asarray(batched, dtype=int) - np.asarray(single, dtype=int))
        assert difference.max() <= 1  # of 255: a batch of another size rounds its last bits differently


def test_seeds_count_up_from_picture_to_picture_and_start_again_after_the_last(worker: Worker, world: World) -> None:
    job = world.generation(world.history(), "a dog", count=3, seed=2**63 - 2)
    generate(worker, job)
    assert [recipe["seed"] for recipe in world.recipes(job)] == [2**63 - 2, 2**63 - 1, 0]


def test_rolling_back_leaves_a_generation_that_was_asked_for_as_it_is(worker: Worker, world: World) -> None:
    history = world.history()
    learn(worker, world.learning(history))
    job = world.generation(history, "a <rex> dog", version=1)
    world.move_head(history, 0)
    generate(worker, job)
    assert world.recipes(job)[0]["version"] == 1


def test_the_same_picture_comes_again_after_going_back_and_forth(worker: Worker, world: World) -> None:
    history = world.history()
    learn(worker, world.learning(history, "rex"))
    before = world.generation(history, "a <rex> dog", version=1)
    generate(worker, before)
    learn(worker, world.learning(history, "mugsy", "mug"))
    world.move_head(history, 1)
    after = world.generation(history, "a <rex> dog", version=1)
    generate(worker, after)
    assert world.pngs(before) == world.pngs(after)


def test_a_word_that_was_never_learned_fails_with_a_sentence(worker: Worker, world: World) -> None:
    job = world.generation(world.history(), "a photo of a <nobody>")
    generate(worker, job)
    ended = world.job(job)
    assert ended.state == JobState.FAILED
    assert "<nobody>" in (ended.error or "")


def test_a_size_that_the_base_cannot_draw_fails_with_a_sentence(worker: Worker, world: World) -> None:
    job = world.generation(world.history(), "a dog", side=13)
    generate(worker, job)
    assert "multiples of" in (world.job(job).error or "")


def test_a_damaged_delta_fails_with_a_sentence(worker: Worker, world: World) -> None:
    history = world.history()
    learn(worker, world.learning(history))
    worker.versions = Versions(worker.equipment.base, world.store)  # as after a restart
    world.spoil(world.version(history, 1).delta_sha256)
    job = world.generation(history, "a <rex> dog", version=1)
    generate(worker, job)
    assert "damaged" in (world.job(job).error or "")


def test_cancelling_ends_it_at_its_next_step(worker: Worker, world: World) -> None:
    job = world.generation(world.history(), "a dog", steps=500)
    with a_base_that_never_ends(worker.equipment.base):
        thread = threading.Thread(target=generate, args=(worker, job))
        thread.start()
        wait_until(lambda: world.job(job).step > 0, "it has begun")
        with world.sessions.begin() as session:
            session.execute(update(Job).where(Job.id == job).values(cancel_requested=True))
        thread.join(PATIENCE_S)
    assert world.job(job).state == JobState.CANCELLED
    assert world.pngs(job) == []
    wait_until(lambda: worker.engine.rows_waiting == 0, "the engine has left it")


def test_a_worker_that_stops_hands_it_back_and_rings(worker: Worker, world: World, rung: list[tuple[str, str]]) -> None:
    job = world.generation(world.history(), "a dog", steps=500)
    with a_base_that_never_ends(worker.equipment.base):
        thread = threading.Thread(target=generate, args=(worker, job))
        thread.start()
        wait_until(lambda: world.job(job).step > 0, "it has begun")
        worker.stop()
        thread.join(PATIENCE_S)
    assert (world.job(job).state, world.job(job).times_lost) == (JobState.QUEUED, 0)
    assert rung[-1] == ("palimpsest.generate", str(job))
    assert not generate(worker, job)  # a worker that stops takes nothing new


def test_a_picture_asked_for_during_a_learning_is_there_first(worker: Worker, world: World) -> None:
    history = world.history()
    long = world.learning(history, steps=100_000)
    learning = threading.Thread(target=learn, args=(worker, long))
    learning.start()
    wait_until(lambda: world.job(long).stage == "learning" and world.job(long).step > 0, "the learning goes on")
    job = world.generation(history, "a photo of a dog")
    generate(worker, job)
    assert world.job(job).state == JobState.DONE
    assert world.job(long).state == JobState.RUNNING
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == long).values(cancel_requested=True))
    learning.join(PATIENCE_S)


def test_progress_is_counted_in_steps_of_all_pictures(worker: Worker, world: World) -> None:
    job = world.generation(world.history(), "a dog", count=2, steps=5)
    generate(worker, job)
    told = world.events(job, "progress")
    assert told[0] == {
        "stage": "generating",
        "step": 0,
        "steps_total": 10,
        "seconds_left": None,
    }
    assert [event["state"] for event in world.events(job, "state")] == ["running", "done"]


def test_the_base_stays_as_it_is(worker: Worker, world: World) -> None:
    checksum = worker.equipment.base.checksum()
    generate(worker, world.generation(world.history(), "a dog", count=3))
    assert worker.equipment.base.checksum() == checksum


@pytest.mark.parametrize("deliveries", [2, 5])
def test_a_generation_that_is_delivered_often_is_done_once(worker: Worker, world: World, deliveries: int) -> None:
    job = world.generation(world.history(), "a dog")
    threads = [threading.Thread(target=generate, args=(worker, job)) for _ in range(deliveries)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(world.pngs(job)) == 1
    assert world.job(job).attempt == 1


def test_pictures_that_memory_does_not_suffice_for_when_they_are_kept_are_not_called_a_learning(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(generating, "to_png", exhaust)
    job = world.generation(world.history(), "a mug")
    generate(worker, job)
    assert "does not suffice for these pictures: make them smaller" in (world.job(job).error or "")
