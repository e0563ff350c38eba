"""The engine by itself: shared batches, turns, fair shares, and what happens when something goes wrong."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, GenerationRun, NoPicture, generate
from cns.errors import CnsError, UnknownToken
from tests.cns.test_compose import make_delta
from tests.worker.library import assert_close, learn_alone
from worker.device import PictureTooLarge
from worker.engine import Engine, EngineStopped
from worker.equipment import Equipment
from worker.orders import Order
from worker.painting import DECODED_AT_ONCE, Painter
from worker.shares import Lane

PATIENCE_S = 60


@pytest.fixture
def base(equipment: Equipment) -> BaseModel:
    return equipment.base


@pytest.fixture
def engine(base: BaseModel) -> Iterator[Engine]:
    made = Engine(base, batch_rows=16)
    yield made
    made.stop(timeout_s=10)


@contextmanager
def rows_of_calls(base: BaseModel) -> Iterator[list[int]]:
    """How many rows each call of the UNet had."""
    seen: list[int] = []
    handle = base.unet.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        yield seen
    finally:
        handle.remove()


def request(prompt: str = "a photo of a dog", **facts: Any) -> GenerationRequest:
    return GenerationRequest(prompt, **{"steps": 3, "seed": 1, **facts})


def order(version: Version, *requests: GenerationRequest, owner: object = None) -> Order:
    return Order(lambda: version, requests, owner or uuid4())  # type: ignore[arg-type]


def finish(*orders: Order) -> list[list[Tensor]]:
    for one in orders:
        assert one.finished.wait(PATIENCE_S)
    return [one.pictures() for one in orders]


def test_two_users_with_two_versions_share_one_batch_and_get_what_each_would_get_alone(
    engine: Engine, base: BaseModel, equipment: Equipment
) -> None:
    rex = compose(base, [learn_alone(equipment, "rex", "dog", steps=4)])
    own_rex = compose(base, [learn_alone(equipment, "rex", "cat", steps=4, seed=3)])
    asked = [
        (rex, request("a photo of a <rex> dog", seed=5)),
        (own_rex, request("a photo of a <rex> cat", seed=6, sampler="euler", guidance=2.0)),
        (compose(base), request("a red mug", guidance=1.0, steps=4)),
    ]
    orders = [order(version, one) for version, one in asked]
    for one in orders:  # before the engine starts, so that the first step has all of them
        engine.ask(one)
    with rows_of_calls(base) as rows:
        engine.start()
        made = finish(*orders)
    assert rows == [5, 5, 5, 1]  # two rows for each guided one, and one for the last, which takes a step more
    for (version, one), pictures in zip(asked, made, strict=True):
        assert_close(base, pictures, generate(base, version, [one]))


def test_a_picture_that_is_guided_no_more_takes_one_row_a_step(engine: Engine, base: BaseModel) -> None:
    version = compose(base, [replace(make_delta(base, "noir", 1), reach="token", guided=0.5)])
    asked = [request("a <noir> cat", steps=4), request("a red mug", steps=4), request("a cat", steps=4, guidance=1.0)]
    wanted = order(version, *asked)
    engine.ask(wanted)
    with rows_of_calls(base) as rows:
        engine.start()
        [made] = finish(wanted)
    assert rows == [5, 5, 4, 4]
    assert_close(base, made, generate(base, version, asked))


def test_pictures_of_other_sizes_take_turns(engine: Engine, base: BaseModel) -> None:
    engine.start()
    small, large = order(compose(base), request()), order(compose(base), request(width_px=32, height_px=16))
    engine.ask(small)
    engine.ask(large)
    (one,), (other,) = finish(small, large)
    assert (one.shape, other.shape) == ((3, 16, 16), (3, 16, 32))


def test_who_wants_another_size_does_not_wait_for_all_that_was_asked_for_before(
    engine: Engine, base: BaseModel
) -> None:
    version = compose(base)
    many = [order(version, request(seed=seed), owner="ada") for seed in range(20)]
    other = order(version, request(width_px=32, height_px=16), owner="ben")
    for one in (*many, other):
        engine.ask(one)
    engine.start()
    finish(other)
    assert sum(one.finished.is_set() for one in many) <= 8  # a batch or so, and not all twenty
    finish(*many)


def test_a_batch_is_never_larger_than_allowed_and_nobody_waits_for_all_of_anothers(base: BaseModel) -> None:
    engine = Engine(base, batch_rows=4)
    version = compose(base)
    many = order(version, *[request(seed=seed) for seed in range(4)])
    few = order(version, request(seed=9))
    engine.ask(many)
    engine.ask(few)
    with rows_of_calls(base) as rows:
        engine.start()
        finish(few)
        assert not many.finished.is_set()
        finish(many)
    engine.stop(10)
    assert max(rows) == 4


def test_a_batch_grows_from_step_to_step_as_long_as_rows_cost_the_same(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(base, batch_rows=16)
    note = engine.painter.capacity.note
    monkeypatch.setattr(
        engine.painter.capacity, "note", lambda size, rows, _seconds, peak: note(size, rows, rows * 1.0, peak)
    )
    many = [order(compose(base), request(seed=seed, steps=6)) for seed in range(8)]
    for one in many:
        engine.ask(one)
    with rows_of_calls(base) as rows:
        engine.start()
        finish(*many)
    engine.stop(10)
    assert rows == [8] * 3 + [16] * 3 + [8] * 3  # the last ones are those that had to wait for the batch to grow


def test_an_order_that_cannot_be_begun_fails_alone(engine: Engine, base: BaseModel) -> None:
    engine.start()
    wrong = order(compose(base), request("a photo of a <nobody>"))
    right = order(compose(base), request())
    engine.ask(wrong)
    engine.ask(right)
    with pytest.raises(UnknownToken, match="known tokens: none yet"):
        finish(wrong)
    assert len(finish(right)[0]) == 1


def test_what_goes_wrong_with_one_picture_does_not_take_the_others_along(engine: Engine, base: BaseModel) -> None:
    good, bad = order(compose(base), request(seed=1)), order(compose(base), request(seed=2))
    engine.ask(good)
    engine.ask(bad)

    def fail(_: object, inputs: tuple[Tensor, ...]) -> None:
        wanted = [row.run.inputs()[0] for row in bad.rows if row.run is not None]
        if any(torch.equal(part, own.to(part)) for part in inputs[0] for own in wanted):
            raise RuntimeError("a broken row")

    handle = base.unet.register_forward_pre_hook(fail)
    try:
        engine.start()
        pictures = finish(good)[0]
        with pytest.raises(RuntimeError, match="a broken row"):
            finish(bad)
    finally:
        handle.remove()
    assert_close(base, pictures, generate(base, compose(base), [request(seed=1)]))


def test_too_little_memory_makes_smaller_batches(engine: Engine, base: BaseModel) -> None:
    asked = [request(seed=seed) for seed in range(3)]
    all_of_them = order(compose(base), *asked)
    engine.ask(all_of_them)

    def fail(_: object, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("no memory")

    handle = base.unet.register_forward_pre_hook(fail)
    try:
        engine.start()
        made = finish(all_of_them)[0]
    finally:
        handle.remove()
    assert engine.painter.capacity.rows((None, None)) == 2
    assert engine.painter.capacity.rows((32, 32)) > 2
    assert_close(base, made, generate(base, compose(base), asked))


def begin_only_beside(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Memory for so many runs at a time and no more."""
    held: list[weakref.ref[GenerationRun]] = []

    def begin(*args: Any) -> GenerationRun:
        if sum(run() is not None for run in held) >= most:
            raise torch.OutOfMemoryError("no memory")
        run = GenerationRun(*args)
        held.append(weakref.ref(run))
        return run

    monkeypatch.setattr("worker.painting.GenerationRun", begin)


@pytest.mark.parametrize("batch_rows", [2, 16])
def test_a_picture_that_finds_too_little_memory_waits_for_what_others_hold(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    engine, version = Engine(base, batch_rows=batch_rows), compose(base)
    begin_only_beside(monkeypatch, most=2)
    owner = uuid4()
    asked = [request(seed=seed) for seed in range(4)]
    orders = [order(version, *asked[:2], owner=owner), order(version, asked[2], owner=owner), order(version, asked[3])]
    for one in orders:
        engine.ask(one)
    engine.start()
    made = [picture for pictures in finish(*orders) for picture in pictures]
    engine.stop(10)
    monkeypatch.undo()
    assert_close(base, made, generate(base, version, asked))


def test_a_picture_that_finds_too_little_memory_with_nobody_beside_it_fails(
    engine: Engine, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_only_beside(monkeypatch, most=0)
    one = order(compose(base), request())
    engine.ask(one)
    engine.start()
    with pytest.raises(PictureTooLarge, match="make it smaller"):
        finish(one)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_pictures_that_can_only_be_decoded_one_by_one_are(
    engine: Engine, base: BaseModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """At the end of large pictures the autoencoder needs more memory than the UNet did."""
    asked = [request(seed=seed) for seed in range(3)]
    all_of_them = order(compose(base), *asked)
    original = type(base).decode_latents

    def decode(self: BaseModel, latents: Tensor) -> Tensor:
        if len(latents) > 1:
            raise error
        return original(self, latents)

    monkeypatch.setattr(type(base), "decode_latents", decode)
    engine.ask(all_of_them)
    engine.start()
    made = finish(all_of_them)[0]
    assert engine.turn(lambda: 42).result(PATIENCE_S) == 42
    monkeypatch.undo()
    assert_close(base, made, generate(base, compose(base), asked))


@pytest.mark.parametrize(
    ("error", "sentence"), [(torch.OutOfMemoryError("no memory"), "make it smaller"), (KeyError("odd"), "odd")]
)
def test_a_picture_that_cannot_be_decoded_fails_alone(
    engine: Engine, base: BaseModel, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    good, bad = order(compose(base), request(seed=1)), order(compose(base), request(seed=2))
    original = type(base).decode_latents

    def decode(self: BaseModel, latents: Tensor) -> Tensor:
        if any(torch.equal(latents[place : place + 1], bad.rows[0].run.latents) for place in range(len(latents))):  # type: ignore[union-attr]
            raise error
        return original(self, latents)

    monkeypatch.setattr(type(base), "decode_latents", decode)
    engine.ask(good)
    engine.ask(bad)
    engine.start()
    pictures = finish(good)[0]
    with pytest.raises(Exception, match=sentence):
        finish(bad)
    assert engine.turn(lambda: 42).result(PATIENCE_S) == 42
    monkeypatch.undo()
    assert_close(base, pictures, generate(base, compose(base), [request(seed=1)]))


def test_a_look_that_cannot_be_had_costs_no_picture(base: BaseModel) -> None:
    def look(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no memory")

    engine = Engine(base, preview=look)  # type: ignore[arg-type]
    one = order(compose(base), request(steps=3))
    one.preview_wanted = True
    engine.ask(one)
    engine.start()
    assert len(finish(one)[0]) == 1
    assert one.take_preview() is None
    engine.stop(10)


def test_pictures_that_become_finished_together_are_decoded_a_few_between_two_steps(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who still waits for steps is not held up by all the others' pictures at once."""
    engine, version = Engine(base, batch_rows=64), compose(base)
    short = [order(version, request(steps=2, seed=seed, guidance=1.0)) for seed in range(DECODED_AT_ONCE + 3)]
    long = order(version, request(steps=6, guidance=1.0))
    original, happened = type(base).decode_latents, []

    def decode(self: BaseModel, latents: Tensor) -> Tensor:
        happened.append(f"{len(latents)} decoded")
        return original(self, latents)

    monkeypatch.setattr(type(base), "decode_latents", decode)
    monkeypatch.setattr(engine.painter.capacity, "rows", lambda *_: 64)
    handle = base.unet.register_forward_pre_hook(lambda *_: happened.append("step"))
    for one in (*short, long):
        engine.ask(one)
    engine.start()
    made = finish(*short, long)
    engine.stop(10)
    handle.remove()
    monkeypatch.undo()
    decoded = [happened.index(f"{count} decoded") for count in (DECODED_AT_ONCE, 3)]
    assert "step" in happened[decoded[0] : decoded[1]]
    assert len(made) == len(short) + 1
    assert_close(base, made[-1], generate(base, version, [request(steps=6, guidance=1.0)]))


def test_no_more_pictures_are_decoded_at_once_than_their_size_allows(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter, version = Painter(base, batch_rows=64), compose(base)
    monkeypatch.setattr("cns.denoise.DECODED_AT_ONCE_PX", 3 * base.native_px**2)
    original, decoded = type(base).decode_latents, []

    def decode(self: BaseModel, latents: Tensor) -> Tensor:
        decoded.append(len(latents))
        return original(self, latents)

    monkeypatch.setattr(type(base), "decode_latents", decode)
    monkeypatch.setattr(painter.capacity, "rows", lambda *_: 64)
    side = 4 * base.native_px  # of which not even one is allowed, and one must be
    orders = [
        order(version, *(request(steps=1, seed=seed, guidance=1.0, **facts) for seed in range(count)))
        for count, facts in ((4, {}), (2, {"width_px": side, "height_px": side}))
    ]
    while waiting := [one for one in orders if not one.finished.is_set()]:
        painter.step(waiting)
    assert decoded == [3, 1, 1, 1]


def test_a_picture_of_no_numbers_fails_with_a_sentence_and_its_neighbours_are_made(
    engine: Engine, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As half precision gives them where something overflows: shown, they would be black."""
    original = type(base).decode_latents

    def decode(self: BaseModel, latents: Tensor) -> Tensor:
        made = original(self, latents)
        made[0, 0, 0, 0] = float("nan")
        return made

    overflown, other = (order(compose(base), request(seed=seed)) for seed in range(2))
    with monkeypatch.context() as patched:
        patched.setattr(type(base), "decode_latents", decode)
        engine.ask(overflown)
        engine.start()
        with pytest.raises(NoPicture, match="overflowed"):
            finish(overflown)
    engine.ask(other)
    assert len(finish(other)[0]) == 1


def test_a_picture_too_large_for_the_memory_fails_with_a_sentence(engine: Engine, base: BaseModel) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    handle = base.unet.register_forward_pre_hook(fail)
    try:
        engine.start()
        one = order(compose(base), request())
        engine.ask(one)
        with pytest.raises(CnsError, match="make it smaller"):
            finish(one)
    finally:
        handle.remove()


def test_a_picture_asked_for_during_a_learning_is_there_before_it_ends(engine: Engine, base: BaseModel) -> None:
    engine.start()
    asked = threading.Event()
    taken: list[int] = []
    one = order(compose(base), request())

    def step() -> None:
        taken.append(len(taken))
        if len(taken) == 2:
            engine.ask(one)
            asked.set()

    learning = engine.turns(step, lambda: not one.finished.is_set() or len(taken) < 4)
    assert asked.wait(PATIENCE_S)
    finish(one)
    learning.result(PATIENCE_S)


def test_learning_gets_its_share_while_pictures_are_waiting(base: BaseModel) -> None:
    engine = Engine(base, learning_share=0.25)
    version = compose(base)
    busy = order(version, *[request(steps=40, seed=seed) for seed in range(2)])
    engine.ask(busy)

    def work() -> None:
        generate(base, version, [request(steps=1)])

    learning = engine.turns(work, lambda: not busy.finished.is_set())
    engine.start()
    finish(busy)
    learning.result(PATIENCE_S)
    engine.stop(10)
    used = engine.shares.used_s
    assert 0.15 < used[Lane.LEARNING] / sum(used.values()) < 0.4


def test_a_long_turn_lets_pictures_and_other_learnings_go_in_between(engine: Engine, base: BaseModel) -> None:
    engine.start()
    begun, go_on = threading.Event(), threading.Event()
    one = order(compose(base), request())
    others: list[int] = []

    def long() -> str:
        begun.set()
        go_on.wait(PATIENCE_S)
        while not one.finished.is_set() or len(others) < 3:
            torch.ones(64, 64) @ torch.ones(64, 64)
            engine.pause()
        return "done"

    examination = engine.turn(long)
    assert begun.wait(PATIENCE_S)
    engine.ask(one)
    other = engine.turns(lambda: others.append(1), lambda: len(others) < 3)
    go_on.set()
    assert examination.result(PATIENCE_S) == "done"
    other.result(PATIENCE_S)
    assert_close(base, finish(one)[0], generate(base, compose(base), [request()]))


def test_what_a_turn_raises_reaches_who_asked_and_nobody_else(engine: Engine) -> None:
    engine.start()

    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        engine.turn(fail).result(PATIENCE_S)
    assert engine.turn(lambda: 42).result(PATIENCE_S) == 42


def test_a_dropped_order_is_left_at_its_next_step(engine: Engine, base: BaseModel) -> None:
    engine.start()
    endless, next_one = order(compose(base), request(steps=500)), order(compose(base), request())
    engine.ask(endless)
    endless.drop()
    engine.ask(next_one)
    finish(next_one)
    engine.turn(lambda: None).result(PATIENCE_S)
    assert engine.rows_waiting == 0


def test_stopping_ends_whatever_waits(engine: Engine, base: BaseModel) -> None:
    waiting = order(compose(base), request(steps=500))
    engine.start()
    engine.ask(waiting)
    learning = engine.turns(lambda: None, lambda: True)
    engine.stop(PATIENCE_S)
    with pytest.raises(EngineStopped):
        finish(waiting)
    with pytest.raises(EngineStopped):
        learning.result(PATIENCE_S)
    with pytest.raises(EngineStopped):
        engine.turn(lambda: None)


def test_a_preview_shows_a_picture_on_its_way_and_changes_nothing(engine: Engine, base: BaseModel) -> None:
    one = order(compose(base), request(steps=3, sampler="euler"))
    one.preview_wanted = True
    engine.ask(one)
    engine.start()
    pictures = finish(one)[0]
    look = one.take_preview()
    assert look is not None
    assert (look[0].shape, look[1]) == ((3, 16, 16), 1)
    assert 0 <= look[0].min() <= look[0].max() <= 1
    assert one.take_preview() is None
    assert_close(base, pictures, generate(base, compose(base), [request(steps=3, sampler="euler")]))


def test_an_engine_that_dies_says_so_and_keeps_nobody_waiting(base: BaseModel) -> None:
    died = threading.Event()
    engine = Engine(base, on_death=died.set)

    class Broken(BaseException):
        """As when the device is lost."""

    def lose_the_device() -> None:
        raise Broken

    engine._make_a_step = lose_the_device  # type: ignore[method-assign]
    waiting = order(compose(base), request())
    learning = engine.turns(lambda: None, lambda: True)
    engine.ask(waiting)
    engine.start()
    assert died.wait(PATIENCE_S)
    for ended in (waiting.pictures, lambda: learning.result(PATIENCE_S)):
        assert waiting.finished.wait(PATIENCE_S)
        with pytest.raises(Broken):
            ended()
