"""What threads do to the shared UNet is in place for all of them until the last has ended, and then undone."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest
import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, generate
from cns.frozen_layers import thrifty_gradients
from cns.kv import handed_attention
from cns.learning import LearningRun, Losses
from cns.learning_rows import DrawnRows, borrowed_unet
from tests.cns.test_compose import make_delta
from tests.cns.test_learning_together import make_run

WAIT_S = 60


def looks(base: BaseModel) -> tuple[list[type], int, bool]:
    """What is changed on the UNet meanwhile: its attention, its layers' ways, its checkpointing."""
    processors = [type(processor) for processor in base.unet.attn_processors.values()]
    ways = sum("forward" in vars(part) for part in base.unet.modules())
    return processors, ways, base.unet.is_gradient_checkpointing


@pytest.mark.parametrize(
    "change",
    [
        lambda base: handed_attention(base.unet),
        lambda base: thrifty_gradients(base.unet, 0),
        lambda base: borrowed_unet(base, checkpointing=True),
    ],
)
def test_blocks_that_overlap_end_in_any_order(
    change: Callable[[BaseModel], AbstractContextManager[None]], sd1: BaseModel
) -> None:
    """The first that ends would otherwise take the UNet from the other, and the other leave it changed for ever."""
    before = looks(sd1)
    first, second = ExitStack(), ExitStack()
    first.enter_context(change(sd1))
    second.enter_context(change(sd1))
    meanwhile = looks(sd1)
    first.close()
    assert looks(sd1) == meanwhile != before
    second.close()
    assert looks(sd1) == before


def test_a_block_that_ends_within_another_leaves_it_what_it_needs(sd1: BaseModel) -> None:
    before = looks(sd1)
    with borrowed_unet(sd1, checkpointing=False):
        meanwhile = looks(sd1)
        with pytest.raises(ZeroDivisionError), handed_attention(sd1.unet):
            1 / 0  # noqa: B018
        assert looks(sd1) == meanwhile
    assert looks(sd1) == before


def test_layers_are_not_thrifty_in_two_ways_at_once(sd1: BaseModel) -> None:
    before = looks(sd1)
    with thrifty_gradients(sd1.unet, 0), pytest.raises(ValueError, match="in use with 0"):
        thrifty_gradients(sd1.unet, 10).__enter__()
    assert looks(sd1) == before
    with thrifty_gradients(sd1.unet, 10):
        pass
    assert looks(sd1) == before


def test_what_fails_to_begin_is_not_in_use(sd1: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = looks(sd1)
    monkeypatch.setattr(sd1.unet, "enable_gradient_checkpointing", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        borrowed_unet(sd1, checkpointing=True).__enter__()
    monkeypatch.undo()
    assert looks(sd1) == before
    with borrowed_unet(sd1, checkpointing=True):
        assert sd1.unet.is_gradient_checkpointing
    assert looks(sd1) == before


def _beside(work: Callable[[Callable[[], None]], None], others: Callable[[Callable[[], None]], None]) -> None:
    """Begin `work` in a thread of its own, and do `others` while it is in the midst of it, at its `pause`.

    others: told how to let that thread go on to its end, at some point within.
    """
    in_the_midst, go_on = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def pause() -> None:
        in_the_midst.set()
        assert go_on.wait(WAIT_S)

    def run() -> None:
        try:
            work(pause)
        except BaseException as error:
            failed.append(error)
            in_the_midst.set()

    def let_end() -> None:
        go_on.set()
        thread.join(WAIT_S)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert in_the_midst.wait(WAIT_S)
        others(let_end)
    finally:
        let_end()
    assert failed == []


def _draw(base: BaseModel, version: Version, seed: int, on_step: Callable[[], None] = lambda: None) -> Tensor:
    """on_step: called in the midst of it."""
    request = GenerationRequest("a photo of a <rex> dog", seed=seed, steps=4)
    return generate(base, version, [request], on_step=lambda done, _: on_step() if done == 2 else None)[0]


def test_two_threads_draw_what_each_would_draw_alone(sd1: BaseModel) -> None:
    before, version = looks(sd1), compose(sd1, [make_delta(sd1, "rex", 1)])
    alone = [_draw(sd1, version, seed) for seed in (1, 2)]
    beside: dict[int, Tensor] = {}

    def first(pause: Callable[[], None]) -> None:
        beside[1] = _draw(sd1, version, 1, pause)

    def second(let_end: Callable[[], None]) -> None:
        beside[2] = _draw(sd1, version, 2, let_end)

    _beside(first, second)
    for seed, picture in enumerate(alone, start=1):
        torch.testing.assert_close(beside[seed], picture, atol=1e-5, rtol=0)
    assert looks(sd1) == before


def test_a_step_of_learning_beside_a_picture_is_that_alone(sd1: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture is begun before the step and ends within it: before the way back, which asks the UNet again."""
    before, version = looks(sd1), compose(sd1, [make_delta(sd1, "rex", 1)])
    picture = _draw(sd1, version, 1)
    alone, run = make_run(sd1, gradient_checkpointing=True), make_run(sd1, gradient_checkpointing=True)
    beside: list[Tensor] = []

    def drawing(pause: Callable[[], None]) -> None:
        beside.append(_draw(sd1, version, 1, pause))

    def learning(let_end: Callable[[], None]) -> None:
        def judge(drawn: DrawnRows, made: Tensor) -> Losses:
            let_end()
            return LearningRun.judge(run, drawn, made)

        monkeypatch.setattr(run, "judge", judge)
        run.step()

    alone.step()
    _beside(drawing, learning)
    assert run.losses == alone.losses
    assert torch.equal(run.values, alone.values)
    torch.testing.assert_close(beside[0], picture, atol=1e-5, rtol=0)
    assert looks(sd1) == before
