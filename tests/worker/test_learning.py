"""A learning from its row to its version, in a worker without Celery."""

import errno
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import torch
from sqlalchemy import func, select, update

from app.blobs import Blob
from app.concepts.models import ConceptPicture
from app.db import UnitOfWork
from app.histories.models import BaseModelRow, HeadMove, History
from app.jobs.claims import LostClaim, claim, take_back_expired
from app.jobs.models import Job, JobKind, JobState
from app.jobs.service import retry
from app.queue import LEARN
from cns.learning import LearningRun
from tests.tiny_clip import random_pictures
from tests.worker.library import learn_alone
from tests.worker.processes import wait_until
from tests.worker.world import QUICK, World
from worker.equipment import merge_settings
from worker.learning import learn
from worker.process import Worker
from worker.reports import BASE_GONE
from worker.samples import keep_sample
from worker.tasks import do_next


def digest_of(worker: Worker, name: str, noun: str, *before: str, **changes: Any) -> str:
    captioner = worker.equipment.captioner
    deltas = worker.versions.deltas(before)
    return learn_alone(worker.equipment, name, noun, deltas, captioner, **changes).digest


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None]) -> None:
    """Call `act` once, in the middle of a learning: before its optimiser step number `step`."""
    original, acted = LearningRun.step, threading.Event()

    def stepped(run: LearningRun) -> float:
        if run.steps_done == step and not acted.is_set():
            acted.set()
            act()
        return original(run)

    monkeypatch.setattr(LearningRun, "step", stepped)


def expire(world: World, job_id: UUID) -> None:
    """The worker did not beat for too long, and a sweep took its job back."""
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=Job.created_at))
        take_back_expired(session)  # at once, or a heartbeat could come in between


# --- what comes of it -------------------------------------------------------------------------------------------------


def test_a_learning_publishes_the_delta_that_the_library_learns(worker: Worker, world: World) -> None:
    history = world.history()
    first, second = world.learning(history, "rex"), world.learning(history, "mugsy", "mug")
    assert learn(worker, first)
    assert learn(worker, second)
    rex, mugsy = world.versions(history)
    assert rex.delta_sha256 == digest_of(worker, "rex", "dog")
    assert mugsy.delta_sha256 == digest_of(worker, "mugsy", "mug", rex.delta_sha256)
    assert (mugsy.parent_id, world.head(history)) == (rex.id, 2)
    assert world.job(second).state == JobState.DONE


def test_values_may_be_asked_to_stay_at_their_token_and_harm_no_earlier_concept(worker: Worker, world: World) -> None:
    history = world.history()
    for name, noun in (("rex", "dog"), ("mugsy", "mug")):
        assert learn(worker, world.learning(history, name, noun, reach="token"))
    rex, mugsy = world.versions(history)
    assert rex.delta_sha256 == digest_of(worker, "rex", "dog", reach="token")
    assert mugsy.delta_sha256 == digest_of(worker, "mugsy", "mug", rex.delta_sha256, reach="token")
    assert {delta.reach for delta in worker.versions.deltas((rex.delta_sha256, mugsy.delta_sha256))} == {"token"}
    then, now = (one.examination["concepts"]["rex"] for one in (rex, mugsy))
    assert now == then
    assert [one["severity"] for one in mugsy.diagnosis if one["concept"] == "rex"] == ["ok", "ok"]


def test_a_version_says_how_it_was_learned(worker: Worker, world: World) -> None:
    history = world.history()
    job = world.learning(history)
    learn(worker, job)
    version = world.version(history, 1)
    assert len(version.report["loss"]) == QUICK["steps"]
    assert version.report["peak_memory_bytes"] is None  # on a CPU nobody tells it of one learning
    assert set(version.seconds) == {"captions", "selection", "learning", "diagnosis"}
    assert {finding["signature"] for finding in version.diagnosis} == {"underfitting", "zero-shot damage"}
    assert version.examination["concept"] == "rex"
    assert sorted(world.samples(job)) == [0, 2, 4, 6, 8]
    assert [event["step"] for event in world.events(job, "sample")] == [0, 2, 4, 6, 8]
    stages = list(dict.fromkeys(event["stage"] for event in world.events(job, "progress")))
    assert stages == ["checking", "captions", "selection", "learning", "diagnosis", "publishing"]
    (told,) = world.events(job, "captions")
    assert told["captions"] == version.report["captions"]
    assert [step for step, _ in world.job(job).progress["losses"]] == list(range(1, QUICK["steps"] + 1))
    with world.sessions() as session:
        move = session.scalars(select(HeadMove)).one()
    assert (move.from_id, move.to_id, move.why) == (None, version.id, "learned rex")


def test_an_earlier_concept_is_looked_after(worker: Worker, world: World) -> None:
    history = world.history()
    for name, noun in (("rex", "dog"), ("mugsy", "mug")):
        learn(worker, world.learning(history, name, noun))
    second = world.version(history, 2)
    assert set(second.examination["concepts"]) == {"rex", "mugsy"}
    about_rex = {finding["signature"] for finding in second.diagnosis if finding["concept"] == "rex"}
    assert about_rex == {"bleeding", "forgetting"}


def test_captions_of_people_count_and_missing_ones_are_written(worker: Worker, world: World) -> None:
    history = world.history()
    job = world.learning(history, captions=["a dog at night", None, " "])
    learn(worker, job)
    first, *others = world.version(history, 1).report["captions"]
    assert first == "a <rex> dog at night"
    assert all("<rex> dog" in caption for caption in others)


def test_the_base_stays_as_it_is(worker: Worker, world: World) -> None:
    checksum = worker.equipment.base.checksum()
    learn(worker, world.learning(world.history()))
    assert worker.equipment.base.checksum() == checksum


def test_nothing_is_left_behind_that_nobody_needs(worker: Worker, world: World) -> None:
    job = world.learning(world.history())
    learn(worker, job)
    with world.sessions() as session:
        kinds = session.scalars(select(Blob.media_type)).all()
    assert not any("checkpoint" in kind for kind in kinds)
    assert world.job(job).checkpoint_sha256 is None


# --- what may come in between -----------------------------------------------------------------------------------------


def test_cancelling_ends_it_at_its_next_step(worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    history = world.history()
    job = world.learning(history, steps=10_000)

    def cancel() -> None:
        with world.sessions.begin() as session:
            session.execute(update(Job).where(Job.id == job).values(cancel_requested=True))

    at_step(monkeypatch, 3, cancel)
    learn(worker, job)
    assert world.job(job).state == JobState.CANCELLED
    assert world.job(job).finished_at is not None
    assert world.versions(history) == []
    with world.sessions() as session:
        kinds = session.scalars(select(Blob.media_type)).all()
    assert not any("checkpoint" in kind for kind in kinds)


def test_a_worker_that_lost_its_job_publishes_nothing(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was silent for longer than its lease: another one has the job by now, whose result counts."""
    history = world.history()
    job = world.learning(history)

    def lose() -> None:
        expire(world, job)
        with world.sessions.begin() as session:
            assert claim(session, job, "another worker", worker.settings.lease) is not None

    at_step(monkeypatch, 3, lose)
    learn(worker, job)
    assert (world.job(job).worker, world.job(job).state) == ("another worker", JobState.RUNNING)
    assert world.versions(history) == []


def test_a_worker_that_lost_its_job_tells_no_more_of_it(worker: Worker, world: World) -> None:
    job = world.learning(world.history())
    hold = worker.hands.take(job, "learn")
    assert hold is not None
    keep_sample(worker, hold, 0, b"a picture")
    expire(world, job)
    with pytest.raises(LostClaim):
        keep_sample(worker, hold, 2, b"a late picture")
    assert list(world.samples(job)) == [0]
    assert not world.store.has(hashlib.sha256(b"a late picture").hexdigest())
    worker.hands.release(hold)


def test_an_interrupted_learning_goes_on_and_ends_as_if_nothing_had_been(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = world.history()
    job = world.learning(history)
    at_step(monkeypatch, 5, worker.hands.stop)
    learn(worker, job)
    assert world.job(job).state == JobState.QUEUED
    assert world.job(job).progress["losses"][-1][0] in (5, 6)
    monkeypatch.undo()
    worker.hands.stopping.clear()
    steps = 0

    def counted(run: LearningRun, original: Callable[[LearningRun], float] = LearningRun.step) -> float:
        nonlocal steps
        steps += 1
        return original(run)

    monkeypatch.setattr(LearningRun, "step", counted)
    learn(worker, job)
    assert steps <= QUICK["steps"] - 5
    monkeypatch.undo()
    version = world.version(history, 1)
    assert version.delta_sha256 == digest_of(worker, "rex", "dog")
    assert len(version.report["loss"]) == QUICK["steps"]
    assert len(world.events(job, "captions")) == 1  # told once, though they were written twice


def test_a_learning_goes_on_with_the_version_it_began_on(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head is moved back while it is interrupted: it becomes a child of what it was learned on, and head stays."""
    history = world.history()
    learn(worker, world.learning(history, "rex"))
    job = world.learning(history, "mugsy", "mug")
    at_step(monkeypatch, 5, worker.hands.stop)
    learn(worker, job)
    monkeypatch.undo()
    worker.hands.stopping.clear()
    world.move_head(history, 0)
    learn(worker, job)
    rex, mugsy = world.versions(history)
    assert mugsy.parent_id == rex.id
    assert mugsy.delta_sha256 == digest_of(worker, "mugsy", "mug", rex.delta_sha256)
    assert world.head(history) == 0
    with world.sessions() as session:
        assert len(session.scalars(select(HeadMove)).all()) == 1  # that of rex


def test_a_checkpoint_that_is_lost_costs_its_steps_and_no_more(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = world.history()
    job = world.learning(history)
    at_step(monkeypatch, 5, worker.hands.stop)
    learn(worker, job)
    monkeypatch.undo()
    worker.hands.stopping.clear()
    checkpoint = world.job(job).checkpoint_sha256
    assert checkpoint is not None
    world.store.remove(checkpoint)
    learn(worker, job)
    assert world.version(history, 1).delta_sha256 == digest_of(worker, "rex", "dog")


def test_a_damaged_checkpoint_is_left_aside(worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    history = world.history()
    job = world.learning(history)
    at_step(monkeypatch, 5, worker.hands.stop)
    learn(worker, job)
    monkeypatch.undo()
    worker.hands.stopping.clear()
    checkpoint = world.job(job).checkpoint_sha256
    assert checkpoint is not None
    world.spoil(checkpoint)
    learn(worker, job)
    assert world.version(history, 1).delta_sha256 == digest_of(worker, "rex", "dog")


def test_learnings_of_one_history_run_in_the_order_of_asking(worker: Worker, world: World) -> None:
    history = world.history()
    first, second = world.learning(history, "rex"), world.learning(history, "mugsy", "mug")
    assert not learn(worker, second)
    assert world.job(second).state == JobState.QUEUED
    assert learn(worker, first)
    assert learn(worker, second)


def test_learnings_of_two_histories_run_at_the_same_time_and_come_out_as_if_alone(worker: Worker, world: World) -> None:
    jobs = {
        name: world.learning(world.history(name, name), "rex", noun) for name, noun in (("ada", "dog"), ("ben", "cat"))
    }
    threads = [threading.Thread(target=learn, args=(worker, job)) for job in jobs.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = {}
    for name, job in jobs.items():
        with world.sessions() as session:
            history = session.get_one(Job, job).history_id
        made[name] = world.version(history, 1).delta_sha256
    assert made == {"ada": digest_of(worker, "rex", "dog"), "ben": digest_of(worker, "rex", "cat")}


def test_a_learning_that_is_delivered_twice_is_done_once(worker: Worker, world: World) -> None:
    history = world.history()
    job = world.learning(history)
    threads = [threading.Thread(target=learn, args=(worker, job)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not learn(worker, job)
    assert len(world.versions(history)) == 1
    assert world.job(job).attempt == 1


def test_a_job_that_is_gone_is_no_job(worker: Worker) -> None:
    assert not learn(worker, uuid4())


def test_a_history_that_is_deleted_under_it_ends_it(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = world.history()
    job = world.learning(history, steps=10_000)

    def delete() -> None:
        with world.sessions.begin() as session:
            session.delete(session.get_one(Job, job))

    at_step(monkeypatch, 3, delete)
    learn(worker, job)
    wait_until(lambda: not worker.hands.held(), "it was put down")
    assert world.versions(history) == []


def another_base(world: World, seen_ago: timedelta) -> str:
    """The id of a base that some other worker reported, and no more since then."""
    other = replace(world, base_id="f" * 64)
    other.base()
    with world.sessions.begin() as session:
        session.execute(
            update(BaseModelRow).where(BaseModelRow.id == other.base_id).values(seen_at=func.now() - seen_ago)
        )
    return other.base_id


def has_been_there_for_long(worker: Worker) -> None:
    """And the database with it, so that whoever has a base could say so."""
    worker.sweep._watches_since -= BASE_GONE.total_seconds()


# --- what cannot be done ----------------------------------------------------------------------------------------------


def failure(worker: Worker, world: World, job: UUID) -> str:
    learn(worker, job)
    ended = world.job(job)
    assert ended.state == JobState.FAILED
    assert ended.error is not None
    return ended.error


def test_a_name_that_its_line_knows_fails_with_a_sentence(worker: Worker, world: World) -> None:
    history = world.history()
    learn(worker, world.learning(history, "rex"))
    assert "already knows <rex>" in failure(worker, world, world.learning(history, "rex", "cat"))
    world.move_head(history, 0)
    learn(worker, world.learning(history, "rex", "cat"))  # on another branch it is free
    assert world.head(history) == 2


def test_settings_that_do_not_exist_fail_with_a_sentence(worker: Worker, world: World) -> None:
    assert "no setting 'speed'" in failure(worker, world, world.learning(world.history(), speed=3))


def test_rates_that_make_it_diverge_fail_with_a_sentence(worker: Worker, world: World) -> None:
    error = failure(worker, world, world.learning(world.history(), lr_weights=1e9, warmup_steps=0))
    assert "Try lower learning rates" in error


def test_a_picture_that_is_missing_fails_with_a_sentence(worker: Worker, world: World) -> None:
    pictures = random_pictures(2, seed=99)
    job = world.learning(world.history(), pictures=pictures)
    for digest, _ in world.store.digests():
        world.store.remove(digest)
    assert "missing or damaged" in failure(worker, world, job)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_fails_with_a_remedy(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def exhaust() -> None:
        raise error

    at_step(monkeypatch, 1, exhaust)
    error = failure(worker, world, world.learning(world.history()))
    assert "for this learning: choose a smaller batch" in error


def test_a_disk_that_is_full_is_named(worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk() -> None:
        monkeypatch.setattr(worker.store, "put", put)

    def put(_data: bytes) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    job = world.learning(world.history())
    at_step(monkeypatch, 1, fill_the_disk)
    assert "No space left on device" in failure(worker, world, job)


def test_whatever_else_goes_wrong_fails_without_its_innards(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down() -> None:
        raise KeyError("innards")

    at_step(monkeypatch, 1, break_down)
    error = failure(worker, world, world.learning(world.history()))
    assert "innards" not in error
    assert "Try again" in error


def test_a_history_of_another_base_fails_with_a_sentence(worker: Worker, world: World) -> None:
    has_been_there_for_long(worker)
    job = world.learning(world.history(base_id=another_base(world, timedelta(hours=1))))
    assert "no worker has that one loaded" in failure(worker, world, job)


def test_a_learning_whose_base_nobody_has_for_a_while_goes_on_when_it_is_tried_again(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the one worker of its base is away for longer than a start takes, and another server's base is there."""
    has_been_there_for_long(worker)
    history, own, other = world.history(), world.base_id, another_base(world, timedelta(hours=1))

    def move(base_id: str) -> None:
        with world.sessions.begin() as session:
            session.get_one(History, history).base_id = base_id

    job = world.learning(history)
    at_step(monkeypatch, 5, worker.hands.stop)
    learn(worker, job)
    worker.hands.stopping.clear()
    checkpoint = world.job(job).checkpoint_sha256
    move(other)
    assert "no worker has that one loaded" in failure(worker, world, job)
    assert world.job(job).checkpoint_sha256 == checkpoint
    assert checkpoint is not None
    move(own)
    retry(UnitOfWork(world.sessions, lambda *_args, **_kwargs: None), worker.settings, world.user("ada"), job)
    begun_at: list[int] = []
    monkeypatch.undo()
    at_step(monkeypatch, 0, lambda: begun_at.append(0))
    learn(worker, job)
    assert (world.job(job).state, begun_at) == (JobState.DONE, [])


def test_a_job_on_a_base_whose_worker_was_there_a_moment_ago_waits_for_it(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    """It may only have been started anew, with this very job handed back."""
    has_been_there_for_long(worker)
    worker.sweep.end()
    job = world.learning(world.history(base_id=another_base(world, timedelta(minutes=1))))
    rung.clear()
    worker.sweep.once()
    assert rung == []
    assert not learn(worker, job)
    assert world.job(job).state == JobState.QUEUED


def test_a_worker_that_has_just_started_leaves_jobs_on_another_base_to_whoever_may_be_starting_too(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    """As when all workers were stopped for a backup: whichever comes up first is not the only one."""
    worker.sweep.end()
    job = world.learning(world.history(base_id=another_base(world, timedelta(hours=1))))
    rung.clear()
    worker.sweep.once()
    assert rung == []
    assert not do_next(worker, [JobKind.LEARN], job, learn)
    assert world.job(job).state == JobState.QUEUED
    has_been_there_for_long(worker)
    worker.sweep.once()
    assert rung == [(LEARN, str(job))]


def test_after_an_outage_jobs_on_another_base_wait_until_its_worker_could_have_said_that_it_is_there(
    worker: Worker, world: World, rung: list[tuple[str, str]]
) -> None:
    """Nobody has reported a base for as long as the database was away."""
    worker.sweep.end()
    job = world.learning(world.history(base_id=another_base(world, timedelta(hours=1))))
    has_been_there_for_long(worker)
    worker.sweep.be_patient()
    rung.clear()
    worker.sweep.once()
    assert rung == []
    assert not do_next(worker, [JobKind.LEARN], job, learn)
    assert world.job(job).state == JobState.QUEUED
    worker.sweep._patient_until = 0.0  # a lease's time has passed
    has_been_there_for_long(worker)
    worker.sweep.once()
    assert rung == [(LEARN, str(job))]
    assert "no worker has that one loaded" in failure(worker, world, job)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), KeyError("a mistake of ours")])
def test_an_examination_that_fails_costs_no_learning(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    judge = worker.equipment.judge
    assert judge is not None

    def exhaust(*_: object) -> None:
        raise error

    history = world.history()
    job = world.learning(history, captions=["a dog", "a dog", "a dog"])
    monkeypatch.setattr(type(judge), "image_features", exhaust)
    learn(worker, job)
    version = world.version(history, 1)
    assert (version.diagnosis, version.examination) == ([], {})


def test_a_picture_of_an_earlier_concept_that_is_missing_costs_no_learning(worker: Worker, world: World) -> None:
    history = world.history()
    learn(worker, world.learning(history, "rex"))
    with world.sessions() as session:
        digest = session.scalars(select(ConceptPicture.blob_sha256)).first()
    assert digest is not None
    world.store.remove(digest)
    learn(worker, world.learning(history, "mugsy", "mug"))
    assert world.version(history, 2).diagnosis == []


def test_settings_are_merged_onto_those_of_the_base(worker: Worker) -> None:
    merged = merge_settings(worker.equipment.usual, {"steps": 3, "seed": None, "selection": {"fraction": 0.5}})
    assert (merged.steps, merged.seed, merged.batch) == (3, 0, worker.equipment.learning.batch)
    assert (merged.selection.fraction, merged.selection.ranking) == (0.5, "row")
