"""Several learnings in one batch: each comes out as it would have alone, and what goes wrong with one is its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cns.base_model import BaseModel, load_base
from cns.compose import Version, compose
from cns.delta import Delta
from cns.learning import LearningRefused, LearningRun
from cns.learning_together import group_learnings, step_together
from tests.cns.test_learning import GENERAL, SETTINGS, concept, learn

TOLERANCE = 2e-3
"""Of a value after five steps of 4e-3 each, and of the token's after five of 1e-2."""


def make_run(
    base: BaseModel, name: str = "rex", version: Version | None = None, pictures: int = 0, **changes: object
) -> LearningRun:
    """pictures: the seed that they are drawn from."""
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    taught = concept(name, seed=pictures)
    return LearningRun(base, version or compose(base), taught, settings, calibration=GENERAL)


def finish_together(runs: Sequence[LearningRun]) -> list[Delta]:
    """Steps of whoever has any left, until nobody has."""
    while going_on := [run for run in runs if not run.done]:
        assert all(isinstance(outcome, float) for outcome in step_together(going_on))
    return [run.finish() for run in runs]


def assert_same_learning(found: Delta, alone: Delta) -> None:
    assert found.positions.keys() == alone.positions.keys()
    for layer, values in alone.values.items():
        assert torch.equal(found.positions[layer], alone.positions[layer])
        assert (found.values[layer].float() - values.float()).abs().max() < TOLERANCE
    for vector, other in zip(found.token_vectors, alone.token_vectors, strict=True):
        assert (vector - other).abs().max() < TOLERANCE


@contextmanager
def rows_of_calls(base: BaseModel) -> Iterator[list[int]]:
    """How many rows each call of the UNet had."""
    seen: list[int] = []
    handle = base.unet.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("shape", ["sd1", "sd2", "sdxl"])
def test_learnings_of_several_users_share_each_call_and_come_out_as_alone(
    shape: str, request: pytest.FixtureRequest
) -> None:
    """Both own a <rex>, with other pictures, other noise, another number of steps and another batch."""
    base: BaseModel = request.getfixturevalue(shape)
    checksum = base.checksum()
    earlier = compose(base, [learn(base, taught=concept("max", seed=3))])
    facts = [{}, {"seed": 5, "steps": 3}, {"batch": 2, "lr_weights": 2e-3}]
    versions = [None, None, earlier]

    def build() -> list[LearningRun]:
        return [
            make_run(base, "rex", version, place, **given)
            for place, (given, version) in enumerate(zip(facts, versions, strict=True))
        ]

    alone = []
    for run in build():
        while not run.done:
            run.step()
        alone.append(run)
    together = build()
    with rows_of_calls(base) as rows:
        deltas = finish_together(together)
    assert rows == [8, 8, 8, 5, 5]
    for delta, run, other in zip(deltas, together, alone, strict=True):
        assert_same_learning(delta, other.finish())
        assert run.losses == pytest.approx(other.losses, rel=1e-3)
    assert base.checksum() == checksum


def test_a_learning_by_itself_gives_the_same_bytes_through_either_door(sd1: BaseModel) -> None:
    assert finish_together([make_run(sd1)])[0].digest == learn(sd1).digest


def test_checkpointing_and_mixed_precision_work_together_too(sd1: BaseModel) -> None:
    changes = {"gradient_checkpointing": True, "mixed_precision": True, "steps": 2}
    first, second = finish_together([make_run(sd1, **changes), make_run(sd1, "max", pictures=1, **changes)])
    assert first.size > 0
    assert second.size > 0
    assert not sd1.unet.is_gradient_checkpointing


def test_a_base_in_half_precision_learns_together_as_alone(sd1_folder: Path, device: torch.device) -> None:
    base = load_base(sd1_folder, device=device, dtype=torch.float16)
    alone = make_run(base, steps=1)
    alone.step()
    together = [make_run(base, steps=1), make_run(base, "max", pictures=1, steps=1)]
    assert_same_learning(finish_together(together)[0], alone.finish())


def test_who_goes_together_has_one_size_and_the_same_way_of_computing(sd1: BaseModel, sd2: BaseModel) -> None:
    usual, another = make_run(sd1), make_run(sd1, "max", pictures=1)
    large, thrifty = make_run(sd1, resolution_px=32), make_run(sd1, gradient_checkpointing=True)
    quick, elsewhere = make_run(sd1, mixed_precision=True), make_run(sd2)
    runs = [usual, large, another, thrifty, quick, elsewhere]
    assert group_learnings(runs, most_rows=100) == [[usual, another], [large], [thrifty], [quick], [elsewhere]]
    with pytest.raises(LearningRefused, match="cannot go together"):
        step_together([usual, large])


def test_a_group_has_no_more_rows_than_allowed_and_at_least_one_learning(sd1: BaseModel) -> None:
    runs = [make_run(sd1, f"rex{place}", batch=3) for place in range(5)]
    assert group_learnings(runs, most_rows=6) == [runs[:2], runs[2:4], runs[4:]]
    assert group_learnings(runs, most_rows=1) == [[run] for run in runs]


def test_a_loss_that_is_not_finite_spoils_no_other(sd1: BaseModel) -> None:
    alone = make_run(sd1)
    alone.step()
    good, bad = make_run(sd1), make_run(sd1, "max", pictures=1)
    with torch.no_grad():
        bad.values[0] = torch.nan
    fine, spoilt = step_together([good, bad])
    assert fine == pytest.approx(alone.losses[0], rel=1e-3)
    assert isinstance(spoilt, float)
    assert spoilt != spoilt
    assert good.values.isfinite().all()
    assert (good.values - alone.values).abs().max() < TOLERANCE


@pytest.mark.parametrize("part", ["ask", "judge", "move"])
def test_what_goes_wrong_with_one_does_not_take_the_others_along(
    sd1: BaseModel, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = make_run(sd1)
    alone.step()
    good, bad = make_run(sd1), make_run(sd1, "max", pictures=1)

    def fail(*_: object) -> None:
        raise KeyError("mine")

    monkeypatch.setattr(bad, part, fail)
    error, loss = step_together([bad, good])
    assert isinstance(error, KeyError)
    assert loss == pytest.approx(alone.losses[0], rel=1e-3)
    assert (bad.steps_done, good.steps_done) == (0, 1)
    assert (good.values - alone.values).abs().max() < TOLERANCE


def test_who_is_done_is_told_so_and_the_others_go_on(sd1: BaseModel) -> None:
    done, going_on = make_run(sd1, steps=1), make_run(sd1, "max", pictures=1)
    done.step()
    refused, loss = step_together([done, going_on])
    assert isinstance(refused, LearningRefused)
    assert isinstance(loss, float)


def test_a_shared_pass_that_fails_on_its_way_back_has_moved_nobody_and_leaves_nothing(sd1: BaseModel) -> None:
    """Gradients that were there already would be added to those of the next try."""
    alone = make_run(sd1)
    alone.step()
    runs = [make_run(sd1), make_run(sd1, "max", pictures=1)]
    failing = [True]

    def fail(gradient: Tensor) -> None:
        if failing:
            raise torch.OutOfMemoryError("no memory")

    runs[1].values.register_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        step_together(runs)
    assert [run.steps_done for run in runs] == [0, 0]
    failing.clear()
    step_together(runs)
    assert (runs[0].values - alone.values).abs().max() < TOLERANCE


def test_too_little_memory_for_one_is_everybodys(sd1: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever meets it, it is because the others are there: fewer can be tried."""
    runs = [make_run(sd1), make_run(sd1, "max", pictures=1)]

    def exhaust(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(runs[1], "judge", exhaust)
    with pytest.raises(torch.OutOfMemoryError):
        step_together(runs)
    assert runs[0].steps_done == 0
