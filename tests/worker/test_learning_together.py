"""Learnings that take their steps together on the engine: each as it would be alone, and nobody for another's sake."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
import torch
from torch import Tensor

from app.config import Settings
from app.jobs.models import Job, JobState
from cns.base_model import BaseModel
from cns.delta import Delta
from cns.learning import LearningRun
from tests.worker.library import build_run, learn_alone
from tests.worker.test_engine import PATIENCE_S, rows_of_calls
from tests.worker.world import QUICK, World
from worker.engine import Engine
from worker.equipment import Equipment
from worker.learning import learn
from worker.process import Worker
from worker.together import ROWS_ON_A_GPU, Together, rows_together
from worker.turns import LearningSteps, Turns, choose_turns

TOLERANCE = 2e-3  # of a value after eight steps
CPU = torch.device("cpu")
ROWS = QUICK["batch"]  # of one learning's step


@pytest.fixture
def base(equipment: Equipment) -> BaseModel:
    return equipment.base


@pytest.fixture
def sharing(base: BaseModel) -> Iterator[Engine]:
    made = Engine(base, together=Together(base.device, rows=100))
    yield made
    made.stop(timeout_s=10)


def steps_of(run: LearningRun, check: Callable[[], None] = lambda: None, owner: object = None) -> LearningSteps:
    """All the steps of a run."""

    def more() -> bool:
        return not run.done

    return LearningSteps(
        step=run.step, more=more, owner=owner or uuid4(), run=run, check=check, accept=lambda loss: loss
    )


def same(found: Delta, alone: Delta) -> bool:
    pairs = [(found.values[layer], values) for layer, values in alone.values.items()]
    pairs += list(zip(found.token_vectors, alone.token_vectors, strict=True))
    return all(bool((one.float() - other.float()).abs().max() < TOLERANCE) for one, other in pairs)


def test_learnings_that_wait_take_their_steps_in_one_call_and_come_out_as_alone(
    sharing: Engine, base: BaseModel, equipment: Equipment
) -> None:
    rex, mugsy = build_run(equipment, "rex", "dog"), build_run(equipment, "mugsy", "mug", steps=4)
    answers = [sharing.add(steps_of(run)) for run in (rex, mugsy)]  # before it starts, so that both wait
    with rows_of_calls(base) as rows:
        sharing.start()
        losses = [answer.result(PATIENCE_S) for answer in answers]
    assert rows == [2 * ROWS] * 4 + [ROWS] * 4
    assert losses == [rex.losses[-1], mugsy.losses[-1]]
    assert same(rex.finish(), learn_alone(equipment, "rex", "dog"))
    assert same(mugsy.finish(), learn_alone(equipment, "mugsy", "mug", steps=4))


def test_who_is_put_down_leaves_at_a_step_and_disturbs_nobody(
    sharing: Engine, base: BaseModel, equipment: Equipment
) -> None:
    rex, mugsy = build_run(equipment, "rex", "dog"), build_run(equipment, "mugsy", "mug")

    class PutDown(Exception):
        pass

    def check() -> None:
        if mugsy.steps_done == 3:
            raise PutDown

    staying, leaving = sharing.add(steps_of(rex)), sharing.add(steps_of(mugsy, check))
    with rows_of_calls(base) as rows:
        sharing.start()
        staying.result(PATIENCE_S)
    with pytest.raises(PutDown):
        leaving.result(PATIENCE_S)
    assert mugsy.steps_done == 3
    assert rows == [2 * ROWS] * 3 + [ROWS] * 5
    assert same(rex.finish(), learn_alone(equipment, "rex", "dog"))


def test_what_goes_wrong_with_one_learning_is_its_own(
    sharing: Engine, equipment: Equipment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself, or for all who share the pass with it: then fewer are tried, down to the one that it fails for."""
    runs = [build_run(equipment, name, "dog") for name in ("rex", "max", "bob")]

    def fail(*_: object) -> None:
        raise KeyError("mine")

    def fail_backwards(gradient: Tensor) -> None:
        raise RuntimeError("mine too")

    monkeypatch.setattr(runs[0], "judge", fail)
    runs[1].values.register_hook(fail_backwards)
    answers = [sharing.add(steps_of(run)) for run in runs]
    sharing.start()
    for answer, error in zip(answers[:2], (KeyError, RuntimeError), strict=True):
        with pytest.raises(error, match="mine"):
            answer.result(PATIENCE_S)
    answers[2].result(PATIENCE_S)
    assert same(runs[2].finish(), learn_alone(equipment, "bob", "dog"))


def test_a_loss_that_is_refused_ends_that_learning_alone(sharing: Engine, equipment: Equipment) -> None:
    rex, mugsy = build_run(equipment, "rex", "dog"), build_run(equipment, "mugsy", "mug")

    def refuse(loss: float) -> float:
        raise ValueError("diverged")

    spoilt = steps_of(mugsy)
    spoilt.accept = refuse
    staying, ending = sharing.add(steps_of(rex)), sharing.add(spoilt)
    sharing.start()
    staying.result(PATIENCE_S)
    with pytest.raises(ValueError, match="diverged"):
        ending.result(PATIENCE_S)
    assert (rex.steps_done, mugsy.steps_done) == (QUICK["steps"], 1)


def test_too_little_memory_for_all_means_fewer_at_a_time_from_then_on(
    sharing: Engine, base: BaseModel, equipment: Equipment
) -> None:
    runs = [build_run(equipment, name, "dog") for name in ("rex", "max", "bob", "ted")]
    tried: list[int] = []

    def fail(_: object, inputs: tuple[Tensor, ...]) -> None:
        tried.append(len(inputs[0]))
        if len(inputs[0]) > 2 * ROWS:
            raise torch.OutOfMemoryError("no memory")

    handle = base.unet.register_forward_pre_hook(fail)
    try:
        answers = [sharing.add(steps_of(run)) for run in runs]
        sharing.start()
        for answer in answers:
            answer.result(PATIENCE_S)
    finally:
        handle.remove()
    assert tried == [4 * ROWS] + [2 * ROWS] * 2 * QUICK["steps"]
    assert same(runs[0].finish(), learn_alone(equipment, "rex", "dog"))


def test_without_a_number_of_rows_each_learning_goes_by_itself(base: BaseModel, equipment: Equipment) -> None:
    engine = Engine(base)
    runs = [build_run(equipment, "rex", "dog", steps=2), build_run(equipment, "mugsy", "mug", steps=2)]
    answers = [engine.add(steps_of(run)) for run in runs]
    with rows_of_calls(base) as rows:
        engine.start()
        for answer in answers:
            answer.result(PATIENCE_S)
    engine.stop(10)
    assert rows == [ROWS] * 4
    assert runs[0].finish().digest == learn_alone(equipment, "rex", "dog", steps=2).digest


def test_on_a_cpu_each_goes_by_itself_unless_somebody_says_otherwise() -> None:
    assert rows_together(Settings(), CPU) == 0
    assert rows_together(Settings(), torch.device("cuda")) == ROWS_ON_A_GPU
    assert rows_together(Settings(learning_rows=0), torch.device("cuda")) == 0
    assert rows_together(Settings(learning_rows=8), CPU) == 8


# --- whose turn it is -------------------------------------------------------------------------------------------------


def other_work(owner: object) -> Turns[None]:
    return Turns(step=lambda: None, more=lambda: True, owner=owner)


def learnings(equipment: Equipment, *owners: str) -> list[LearningSteps]:
    return [steps_of(build_run(equipment, f"rex{place}", "dog"), owner=owner) for place, owner in enumerate(owners)]


def test_owners_take_turns_however_much_one_of_them_has_waiting() -> None:
    waiting = [other_work(owner) for owner in ("ada", "ada", "ada", "ben")]
    served: dict[object, int] = {}
    taken = []
    for turn in range(1, 7):
        (work,) = choose_turns(waiting, served, lambda _: 0)
        taken.append(work)
        served[work.owner] = turn
        waiting.remove(work)
        waiting.append(work)
    assert [work.owner for work in taken] == ["ada", "ben"] * 3
    assert len({id(work) for work in taken if work.owner == "ada"}) == 3


def test_everybodys_first_learning_is_taken_along_before_anybodys_second(equipment: Equipment) -> None:
    first, second, third = learnings(equipment, "ada", "ada", "ben")
    assert choose_turns([first, second, third], {}, lambda _: 2 * ROWS) == [first, third]
    assert choose_turns([first, second, third], {}, lambda _: 3 * ROWS) == [first, third, second]
    assert choose_turns([first, second, third], {}, lambda _: 1) == [first]


def test_other_work_has_its_turn_by_itself(equipment: Equipment) -> None:
    (learning,) = learnings(equipment, "ada")
    other = other_work("ben")
    assert choose_turns([other, learning], {}, lambda _: 100) == [other]
    assert choose_turns([other, learning], {"ben": 1}, lambda _: 100) == [learning]


# --- in a worker ------------------------------------------------------------------------------------------------------


def test_learnings_of_two_people_share_calls_in_a_worker_that_is_told_so(
    worker: Worker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is cancelled on its way; the other comes out as if alone."""
    monkeypatch.setattr(worker.engine, "_together", Together(CPU, 100, worker.note_learning))
    monkeypatch.setattr(worker, "equipment", replace(worker.equipment, judge=None))  # nothing is examined: sooner done
    jobs = {
        name: world.learning(world.history(name, name), "rex", noun, steps=steps)
        for name, noun, steps in (("ada", "dog", 8), ("ben", "cat", 40))
    }
    original, first_steps = worker.engine.add, list[Turns[float]]()

    def add_both() -> None:
        with worker.engine._change:  # the engine sees both or none
            for work in first_steps:
                original(work)

    both_are_here = threading.Barrier(2, add_both, PATIENCE_S)

    def add(work: Turns[float]) -> object:
        if not isinstance(work, LearningSteps) or work.run.steps_done > 0:
            return original(work)
        first_steps.append(work)
        both_are_here.wait()
        return work.done

    monkeypatch.setattr(worker.engine, "add", add)
    cancel_at(worker, monkeypatch, jobs["ben"])
    threads = [threading.Thread(target=learn, args=(worker, job)) for job in jobs.values()]
    with rows_of_calls(worker.equipment.base) as rows:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 2 * ROWS in rows
    assert world.job(jobs["ben"]).state == JobState.CANCELLED
    with world.sessions() as session:
        history = session.get_one(Job, jobs["ada"]).history_id
    learned = worker.versions.deltas((world.version(history, 1).delta_sha256,))[0]
    assert same(learned, learn_alone(worker.equipment, "rex", "dog", (), worker.equipment.captioner))


def cancel_at(worker: Worker, monkeypatch: pytest.MonkeyPatch, job: UUID) -> None:
    """Cancel that job before its tenth step, alone or together with others."""
    original = LearningRun.ask

    def asked(run: LearningRun) -> object:
        if run.steps_done == 9:
            for hold in worker.hands.held():
                if hold.job_id == job:
                    hold.cancel()
        return original(run)

    monkeypatch.setattr(LearningRun, "ask", asked)
