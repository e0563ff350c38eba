"""A forgetting from its row to its line of versions, and to the proof that nothing of it is left."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import torch
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.blobs import Blob, keep
from app.concepts.models import Concept, ConceptPicture
from app.config import Settings
from app.db import Sessions, UnitOfWork
from app.errors import Conflict
from app.forgettings.models import Forgetting, Mode, Shared
from app.forgettings.service import forgetting_of
from app.generations.models import Generation, Image
from app.generations.service import delete_images
from app.histories.head import undo_head_move
from app.histories.models import HeadMove, History, Version
from app.jobs.models import Job, JobKind, JobSample, JobState
from app.jobs.service import cancel
from app.thumbnails import thumbnail, thumbnail_name
from cns.delta import Delta
from cns.learning import LearningRun
from cns.unlearning import Option
from cns.unlearning import forget as forget_at_once
from tests.tiny_clip import random_pictures
from tests.worker.library import learn_alone
from tests.worker.test_learning import at_step, expire
from tests.worker.world import World, png_of
from worker import forgetting as forgetting_work
from worker.equipment import Equipment
from worker.forgetting import forget
from worker.generating import generate
from worker.learning import learn
from worker.process import Worker
from worker.transactions import transact

Learned = Callable[..., UUID]
NAMES = ("rex", "momo", "tom")
STEPS = 4


@pytest.fixture(scope="module")
def line(equipment: Equipment) -> dict[str, Delta]:
    """What the library learns of three concepts, one on top of the other."""
    made: dict[str, Delta] = {}
    for name in NAMES:
        made[name] = learn_alone(equipment, name, "dog", tuple(made.values()), steps=STEPS)
    return made


@pytest.fixture
def learned(world: World, line: dict[str, Delta]) -> Learned:
    """Makes a history that has learned the first of those concepts, up to the one named."""

    def learned(up_to: str = "tom") -> UUID:
        history = world.history()
        for name in NAMES[: NAMES.index(up_to) + 1]:
            publish(world, history, line[name])
        return history

    return learned


def publish(world: World, history_id: UUID, delta: Delta) -> None:
    """The rows and files that a learning leaves behind, without the time that it takes."""
    job_id = world.learning(history_id, delta.concept, steps=STEPS)
    with world.sessions.begin() as session:
        history, job = session.get_one(History, history_id), session.get_one(Job, job_id)
        assert job.concept_id
        job.state = JobState.DONE.value
        data = delta.to_bytes()
        version = Version(
            history_id=history_id,
            parent_id=history.head_id,
            concept_id=job.concept_id,
            job_id=job_id,
            number=1 + (session.scalar(select(func.max(Version.number)).where(Version.history_id == history_id)) or 0),
            delta_sha256=keep(session, world.store, data, "application/x-palimpsest-delta"),
            delta_bytes=len(data),
            report=dict(delta.report),
            seconds={},
            diagnosis=[],
            examination={},
        )
        sample = keep(session, world.store, f"sample of {delta.concept}".encode(), "image/png")
        session.add_all([version, JobSample(job_id=job_id, step=0, blob_sha256=sample)])
        session.flush()
        why = f"learned {delta.concept}"
        session.add(HeadMove(history_id=history_id, from_id=history.head_id, to_id=version.id, why=why))
        history.head_id = version.id


def ask(world: World, history_id: UUID, name: str, mode: Mode = Mode.FAST, **more: Any) -> UUID:
    """A queued forgetting, as the web process writes it; returns its job's id."""
    with world.sessions.begin() as session:
        history = session.get_one(History, history_id)
        concept = session.scalars(
            select(Concept).where(Concept.history_id == history_id, Concept.name == name).limit(1)
        ).one()
        job = Job(owner_id=history.owner_id, history_id=history_id, kind=JobKind.FORGET.value)
        session.add(job)
        session.flush()
        facts = {"name": name, "class_noun": "dog", "mode": mode.value, "erase": False, **more}
        session.add(Forgetting(history_id=history_id, job_id=job.id, concept_id=concept.id, **facts))
        return job.id


def forgetting(world: World, job_id: UUID) -> Forgetting:
    with world.sessions() as session:
        return forgetting_of(session, job_id)


def tree(world: World, history_id: UUID) -> list[tuple[int, int, str]]:
    """(number, number of its parent, concept) of every version."""
    versions = world.versions(history_id)
    numbers = {None: 0, **{version.id: version.number for version in versions}}
    with world.sessions() as session:
        names = dict(session.execute(select(Concept.id, Concept.name)).all())
    return [(one.number, numbers[one.parent_id], names[one.concept_id]) for one in versions]


def stored(world: World) -> dict[str, str]:
    """Path -> SHA-256 of every file of the storage and its thumbnails, by their bytes."""
    folder = world.store.blobs.folder.parent
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- at once ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", Shared)
def test_the_new_line_has_the_deltas_that_the_library_makes(
    worker: Worker, world: World, shared: Shared, learned: Learned
) -> None:
    history = learned()
    job = ask(world, history, "momo", shared=shared.value)
    assert forget(worker, job)
    assert tree(world, history) == [(1, 0, "rex"), (2, 1, "momo"), (3, 2, "tom"), (4, 1, "tom")]
    old = [version.delta_sha256 for version in world.versions(history)]
    deltas = worker.versions.deltas(old[:3])
    (again,) = forget_at_once(worker.equipment.base, deltas, "momo", Option(shared.value)).after
    assert old[3] == again.digest
    assert world.head(history) == 4
    assert (world.job(job).state, forgetting(world, job).versions) == (JobState.DONE, [4])


def test_concepts_of_the_new_line_are_looked_after_as_those_of_the_old_one(worker: Worker, world: World) -> None:
    history = world.history()
    for name in ("rex", "momo"):
        learn(worker, world.learning(history, name))
    before = world.version(history, 2).examination["concepts"]
    forget(worker, ask(world, history, "rex", erase=True))
    made = world.version(history, 3)
    assert made.examination["concepts"] == {"momo": before["momo"]}
    assert {finding["signature"] for finding in made.diagnosis} == {"underfitting", "zero-shot damage"}
    assert "rex" not in json.dumps([made.examination, made.diagnosis, made.report])
    learn(worker, world.learning(history, "tom"))
    found = {(finding["signature"], finding["concept"]) for finding in world.version(history, 4).diagnosis}
    assert ("forgetting", "momo") in found


def test_the_service_and_the_library_know_the_same_options() -> None:
    assert [one.value for one in Shared] == [one.value for one in Option]


def test_forgetting_what_was_learned_last_moves_head_alone(worker: Worker, world: World, learned: Learned) -> None:
    history = learned("momo")
    forget(worker, ask(world, history, "momo"))
    assert (world.head(history), len(world.versions(history))) == (1, 2)
    with world.sessions() as session:
        moves = session.scalars(select(HeadMove.why).order_by(HeadMove.id)).all()
    assert moves[-1] == "forgot momo"


def test_head_stays_where_its_user_put_it_meanwhile(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    history = learned()
    job = ask(world, history, "rex", Mode.EXACT)
    at_step(monkeypatch, 2, lambda: world.move_head(history, 1))
    forget(worker, job)
    assert (world.head(history), forgetting(world, job).versions) == (1, [4, 5])


def test_pictures_can_be_asked_of_the_new_line_and_the_old_one(worker: Worker, world: World, learned: Learned) -> None:
    history = learned()
    forget(worker, ask(world, history, "momo"))
    for version, prompt in ((4, "a <tom> dog"), (3, "a <momo> dog"), (4, "a <momo> dog")):
        generate(worker, world.generation(history, prompt, version=version))
    with world.sessions() as session:
        states = session.scalars(
            select(Job.state).where(Job.kind == JobKind.GENERATE.value).order_by(Job.sequence)
        ).all()
    assert states == [JobState.DONE, JobState.DONE, JobState.FAILED]


def test_a_concept_that_head_left_meanwhile_is_told_of(worker: Worker, world: World, learned: Learned) -> None:
    history = learned("momo")
    job = ask(world, history, "momo")
    world.move_head(history, 1)
    forget(worker, job)
    assert world.job(job).state == JobState.FAILED
    assert "does not know <momo>" in (world.job(job).error or "")


# --- exactly ----------------------------------------------------------------------------------------------------------


def test_exact_forgetting_gives_the_bytes_of_a_history_that_never_knew_it(
    worker: Worker, world: World, learned: Learned
) -> None:
    history = learned()
    job = ask(world, history, "rex", Mode.EXACT)
    forget(worker, job)
    assert tree(world, history)[3:] == [(4, 0, "momo"), (5, 4, "tom")]
    momo = learn_alone(worker.equipment, "momo", "dog", steps=STEPS)
    tom = learn_alone(worker.equipment, "tom", "dog", (momo,), steps=STEPS)
    assert [version.delta_sha256 for version in world.versions(history)[3:]] == [momo.digest, tom.digest]
    last = world.version(history, 5)
    assert set(last.examination["concepts"]) == {"momo", "tom"}
    assert {finding["signature"] for finding in last.diagnosis} >= {"forgetting", "bleeding"}
    assert world.head(history) == 5


def test_what_was_taught_beside_it_is_learned_again_beside_any_thing_of_its_noun(
    worker: Worker, world: World, line: dict[str, Delta]
) -> None:
    history = world.history()
    captions = ["a photo of a <momo> dog next to a <rex> dog"] * 3
    momo = replace(line["momo"], report={**line["momo"].report, "captions": captions})
    for delta in (line["rex"], momo, replace(line["tom"], parent=momo.digest)):
        publish(world, history, delta)
    job = ask(world, history, "rex", Mode.EXACT)
    forget(worker, job)
    assert world.job(job).state == JobState.DONE, world.job(job).error
    assert tree(world, history)[3:] == [(4, 0, "momo"), (5, 4, "tom")]
    assert world.version(history, 4).report["captions"] == ["a photo of a <momo> dog next to a dog"] * 3


def test_an_exact_forgetting_that_is_interrupted_goes_on_and_ends_with_the_same_bytes(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    """Once in the middle of the second lesson; what was done of the first is not done again."""
    history = learned()
    job = ask(world, history, "rex", Mode.EXACT)
    steps = 0

    def counted(run: LearningRun, original: Callable[[LearningRun], float] = LearningRun.step) -> float:
        nonlocal steps
        steps += 1
        if steps == STEPS + 2:
            worker.hands.stop()
        return original(run)

    monkeypatch.setattr(LearningRun, "step", counted)
    forget(worker, job)
    assert (world.job(job).state, len(world.versions(history))) == (JobState.QUEUED, 3)
    worker.hands.stopping.clear()
    forget(worker, job)
    assert steps == 2 * STEPS
    momo = learn_alone(worker.equipment, "momo", "dog", steps=STEPS)
    assert world.version(history, 4).delta_sha256 == momo.digest
    tom = learn_alone(worker.equipment, "tom", "dog", (momo,), steps=STEPS)
    assert world.version(history, 5).delta_sha256 == tom.digest
    assert len(world.version(history, 5).report["loss"]) == STEPS
    with world.sessions() as session:
        assert not any("checkpoint" in kind for kind in session.scalars(select(Blob.media_type)))


def test_a_worker_that_lost_its_forgetting_publishes_nothing(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    history = learned("momo")
    job = ask(world, history, "rex", Mode.EXACT)
    at_step(monkeypatch, 2, lambda: expire(world, job))
    forget(worker, job)
    assert (len(world.versions(history)), world.head(history)) == (2, 2)
    assert world.job(job).state == JobState.QUEUED


@pytest.mark.parametrize("mode", [Mode.FAST, Mode.EXACT])
def test_a_forgetting_that_memory_does_not_suffice_for_is_called_one(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned, mode: Mode
) -> None:
    def exhaust(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    job = ask(world, learned("momo"), "rex", mode)
    monkeypatch.setattr(forgetting_work, "forget_at_once", exhaust)
    at_step(monkeypatch, 1, exhaust)
    forget(worker, job)
    error = world.job(job).error or ""
    assert error.startswith("The device's memory does not suffice for this forgetting.")
    assert "batch" not in error  # which nobody chooses here


def test_a_cancelled_forgetting_changes_nothing(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    history = learned("momo")
    job = ask(world, history, "rex", Mode.EXACT, erase=True)

    def cancel() -> None:
        with world.sessions.begin() as session:
            session.execute(update(Job).where(Job.id == job).values(cancel_requested=True))

    at_step(monkeypatch, 2, cancel)
    forget(worker, job)
    assert world.job(job).state == JobState.CANCELLED
    assert (len(world.versions(history)), world.head(history)) == (2, 2)
    assert forgetting(world, job).proof == {}


# --- erasing ----------------------------------------------------------------------------------------------------------


def test_after_erasing_nothing_of_it_is_left_in_storage_or_database(
    worker: Worker, world: World, learned: Learned
) -> None:
    history = learned()
    made = world.generation(history, "a photo of a <tom> dog", version=3)
    generate(worker, made)
    with world.sessions() as session:
        picture = session.scalars(
            select(ConceptPicture.blob_sha256).join(Concept).where(Concept.name == "momo")
        ).first()
        image = session.scalars(select(Image.blob_sha256)).one()
        samples = set(session.scalars(select(JobSample.blob_sha256).join(Job).where(Job.concept_id.is_not(None))))
    assert picture
    thumbnail(world.store, picture, 96)
    deltas = {version.delta_sha256 for version in world.versions(history)[1:]}
    job = ask(world, history, "momo", erase=True)
    forget(worker, job)
    assert world.job(job).state == JobState.DONE, world.job(job).error
    proof = forgetting(world, job).proof
    removed = {one["sha256"] for one in proof["removed"]}
    assert deltas | {picture, image} <= removed
    assert samples & removed
    files = stored(world)
    assert not removed & set(files.values())
    assert not [path for path in files if any(digest in path for digest in removed)]
    assert proof["versions"] == [2, 3]
    assert proof["files_looked_at"] == len(files)
    assert tree(world, history) == [(1, 0, "rex"), (4, 1, "tom")]
    with world.sessions() as session:
        assert session.scalar(select(func.count()).where(Blob.sha256.in_(removed))) == 0
        assert session.scalars(select(Concept.name).order_by(Concept.name)).all() == ["rex", "tom"]
        assert session.scalars(select(Generation)).all() == []
        assert session.scalars(select(HeadMove.why).order_by(HeadMove.id)).all() == ["learned rex", "forgot momo"]


def test_what_stays_can_still_be_drawn_and_learned_upon(worker: Worker, world: World, learned: Learned) -> None:
    history = learned()
    forget(worker, ask(world, history, "momo", erase=True))
    drawn = world.generation(history, "a <rex> dog and a <tom> dog", version=4)
    generate(worker, drawn)
    assert len(world.pngs(drawn)) == 1
    again = world.learning(history, "momo", steps=STEPS)
    learn(worker, again)
    assert world.job(again).state == JobState.DONE
    assert tree(world, history)[-1] == (5, 4, "momo")


def test_after_the_last_concept_was_erased_undo_takes_away_no_other(
    worker: Worker, world: World, learned: Learned
) -> None:
    history = learned("momo")
    forget(worker, ask(world, history, "momo", erase=True))
    with world.sessions() as session:
        assert session.scalars(select(HeadMove.why).order_by(HeadMove.id.desc())).first() == "forgot momo"
    with pytest.raises(Conflict, match="nothing to undo"):
        undo_head_move(UnitOfWork(world.sessions, lambda *_args, **_kwargs: None), world.user("ada"), history)
    assert world.head(history) == 1


def test_every_branch_that_knows_it_is_erased(
    worker: Worker, world: World, line: dict[str, Delta], learned: Learned
) -> None:
    history = learned("momo")
    world.move_head(history, 1)
    publish(world, history, learn_alone(worker.equipment, "tom", "dog", (line["rex"],), steps=STEPS))
    forget(worker, ask(world, history, "rex", erase=True))
    assert tree(world, history) == [(4, 0, "tom")]
    assert world.head(history) == 4


def test_a_picture_that_another_concept_was_taught_with_stays_and_is_told_of(
    worker: Worker, world: World, learned: Learned
) -> None:
    history = learned("momo")
    pictures = random_pictures(3, seed=len("rex"))
    with world.sessions.begin() as session:
        momo = session.scalars(select(ConceptPicture).join(Concept).where(Concept.name == "momo")).first()
        assert momo is not None
        momo.blob_sha256 = keep(session, world.store, png_of(pictures[0]), "image/png")
    job = ask(world, history, "rex", erase=True)
    forget(worker, job)
    proof = forgetting(world, job).proof
    digests = [hashlib.sha256(png_of(picture)).hexdigest() for picture in pictures]
    assert {digests[0]} <= {one["sha256"] for one in proof["still_used"]}
    assert [world.store.has(digest) for digest in digests] == [True, False, False]


def test_pictures_that_wait_at_an_erased_version_are_cancelled_with_it(
    worker: Worker, world: World, learned: Learned
) -> None:
    history = learned("momo")
    waiting = world.generation(history, "a <rex> dog", version=2)
    elsewhere = world.generation(history, "a mug", version=0)
    forget(worker, ask(world, history, "rex", erase=True))
    with world.sessions() as session:
        assert session.get(Job, waiting) is None
        assert session.get(Job, elsewhere) is not None
    assert generate(worker, waiting) is False
    generate(worker, elsewhere)
    assert world.job(elsewhere).state == JobState.DONE


def test_pictures_that_are_being_made_at_an_erased_version_are_dropped(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    """Another thread of the worker has them in hand while the version goes."""
    history = learned("momo")
    running = world.generation(history, "a <rex> dog", version=2)
    job = ask(world, history, "rex", erase=True)
    ask_engine = worker.engine.ask

    def erased_first(order: Any) -> None:
        forget(worker, job)
        ask_engine(order)

    monkeypatch.setattr(worker.engine, "ask", erased_first)
    generate(worker, running)
    assert world.job(job).state == JobState.DONE
    with world.sessions() as session:
        assert (session.get(Job, running), session.scalars(select(Image)).all()) == (None, [])
        known = set(session.scalars(select(Blob.sha256)))
    assert {digest for digest, _ in world.store.digests()} == known  # nor has their file stayed


def test_a_learning_that_waits_on_an_erased_version_begins_anew(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    """It was put down in the middle, and the forgetting that was tried again has its turn before it."""
    history = learned("momo")
    job = ask(world, history, "rex", erase=True)
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(state=JobState.CANCELLED.value))
    waiting = world.learning(history, "tom", steps=STEPS)
    at_step(monkeypatch, 2, worker.hands.stop)
    learn(worker, waiting)
    monkeypatch.undo()
    worker.hands.stopping.clear()
    checkpoint = world.job(waiting).checkpoint_sha256
    assert checkpoint
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(state=JobState.QUEUED.value))
    forget(worker, job)
    assert not world.store.has(checkpoint)
    assert (world.job(waiting).state, world.job(waiting).checkpoint_sha256) == (JobState.QUEUED, None)
    learn(worker, waiting)
    assert tree(world, history) == [(3, 0, "momo"), (4, 3, "tom")]


def test_a_forgetting_that_failed_keeps_no_checkpoint_of_what_is_erased(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    """It had learned <momo> again without <rex>, and may be tried again for a day."""
    history = learned()
    job = ask(world, history, "rex", Mode.EXACT)
    at_step(monkeypatch, 2, worker.hands.stop)
    forget(worker, job)
    monkeypatch.undo()
    worker.hands.stopping.clear()
    checkpoint = world.job(job).checkpoint_sha256
    assert checkpoint
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(state=JobState.FAILED.value))
    forget(worker, ask(world, history, "momo", erase=True))
    assert not world.store.has(checkpoint)
    assert (world.job(job).state, world.job(job).checkpoint_sha256) == (JobState.FAILED, None)


def test_an_erasure_whose_worker_died_after_publishing_is_finished_by_the_next(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    history = learned("momo")
    job = ask(world, history, "rex", erase=True)
    with monkeypatch.context() as patched:
        patched.setattr("worker.forgetting.erase_files", lambda *_: expire(world, job))
        forget(worker, job)
    assert world.job(job).state == JobState.QUEUED
    assert forgetting(world, job).doomed
    forget(worker, job)
    done = forgetting(world, job)
    assert (world.job(job).state, done.doomed, tree(world, history)) == (JobState.DONE, [], [(3, 0, "momo")])
    assert not {one["sha256"] for one in done.proof["removed"]} & set(stored(world).values())


def test_a_file_that_does_not_go_is_no_proof(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    history = learned("momo")
    job = ask(world, history, "rex", erase=True)
    stray = world.store.blobs.folder / f".{world.version(history, 1).delta_sha256}.left.part"
    stray.write_bytes(b"half of it")
    forget(worker, job)
    assert world.job(job).state == JobState.FAILED
    assert "still there" in (world.job(job).error or "")
    assert "removed" not in forgetting(world, job).proof


def test_pictures_of_a_try_that_never_was_learned_go_too(worker: Worker, world: World, learned: Learned) -> None:
    """They were taught under the same name."""
    history = learned("momo")
    failed = world.learning(history, "rex", pictures=random_pictures(2, seed=99))
    with world.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == failed).values(state=JobState.FAILED.value))
    digests = [hashlib.sha256(png_of(picture)).hexdigest() for picture in random_pictures(2, seed=99)]
    forget(worker, ask(world, history, "rex", erase=True))
    assert not any(world.store.has(digest) for digest in digests)


def test_what_was_deleted_or_cancelled_shortly_before_is_gone_when_there_is_a_proof(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    """No row names it any more, and the collector leaves it alone for an hour."""
    history, uow = learned("momo"), UnitOfWork(world.sessions, lambda *_args, **_kwargs: None)
    drawn, kept = (world.generation(history, "a <rex> dog", version=2), world.generation(history, "a mug", version=0))
    generate(worker, drawn)
    generate(worker, kept)
    learning = world.learning(history, "tom", steps=STEPS)
    at_step(monkeypatch, 2, worker.hands.stop)
    learn(worker, learning)
    monkeypatch.undo()
    worker.hands.stopping.clear()
    with world.sessions() as session:
        picture = session.scalars(select(Image).join(Generation).where(Generation.job_id == drawn)).one()
    left = [picture.blob_sha256, world.job(learning).checkpoint_sha256 or ""]
    thumbnail(world.store, picture.blob_sha256, 96)
    delete_images(uow, world.user("ada"), [picture.id])
    cancel(uow, world.user("ada"), learning)
    assert all(world.store.has(digest) for digest in left)
    job = ask(world, history, "rex", erase=True)
    forget(worker, job)
    assert (world.job(job).state, "removed" in forgetting(world, job).proof) == (JobState.DONE, True)
    assert not any(digest in path for digest in left for path in stored(world))
    assert len(world.pngs(kept)) == 1


def test_what_was_learned_again_under_its_name_goes_too(worker: Worker, world: World, learned: Learned) -> None:
    """Its first try did damage and stands beside head, in a version of its own, from the same pictures."""
    history = learned("momo")
    first_try = world.version(history, 2)
    world.move_head(history, 1)
    learn(worker, world.learning(history, "momo", steps=STEPS + 1))
    job = ask(world, history, "momo", erase=True)
    with world.sessions.begin() as session:
        of_head = select(Version.concept_id).where(Version.history_id == history, Version.number == 3)
        session.execute(update(Forgetting).where(Forgetting.job_id == job).values(concept_id=of_head.scalar_subquery()))
    forget(worker, job)
    proof = forgetting(world, job).proof
    assert (proof["versions"], tree(world, history)) == ([2, 3], [(1, 0, "rex")])
    assert not world.store.has(first_try.delta_sha256)
    assert proof["still_used"] == []


def test_no_number_is_given_twice(worker: Worker, world: World, learned: Learned) -> None:
    """Nothing was learned after it, so the newest versions are those that go."""
    history = learned("momo")
    forget(worker, ask(world, history, "momo", erase=True))
    learn(worker, world.learning(history, "tom", steps=STEPS))
    assert tree(world, history) == [(1, 0, "rex"), (3, 1, "tom")]
    forget(worker, ask(world, history, "rex", erase=True))
    assert tree(world, history) == [(4, 0, "tom")]


def test_an_erasure_whose_commit_was_not_answered_is_published_once(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch, learned: Learned
) -> None:
    """The job goes on after that commit, with the same claim."""
    history = learned("momo")
    job = ask(world, history, "rex", erase=True)

    def twice(sessions: Sessions, work: Callable[[Session], None]) -> None:
        transact(sessions, work)
        transact(sessions, work)

    monkeypatch.setattr("worker.new_line.transact", twice)
    forget(worker, job)
    done = forgetting(world, job)
    assert (world.job(job).state, tree(world, history)) == (JobState.DONE, [(3, 0, "momo")])
    assert (done.versions, done.proof["versions"], len(done.proof["removed"]) > 2) == ([3], [1, 2], True)


def test_thumbnails_that_an_earlier_release_kept_elsewhere_are_gone_before_a_worker_erases(
    settings: Settings, equipment: Equipment, sessions: Sessions
) -> None:
    old = settings.blob_folder.parent / "thumbnails" / thumbnail_name("ab" * 32, 96)
    old.parent.mkdir(parents=True)
    old.write_bytes(b"small")
    worker = Worker(settings, equipment, lambda *_, **__: None)
    worker.start()
    worker.close()
    assert not old.parents[2].exists()
