"""Pictures are decoded beside the steps: none waits for one that is not there yet, and each gets its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import compose
from cns.denoise import GenerationRequest, generate
from tests.worker.library import assert_close
from worker.equipment import Equipment
from worker.orders import Order
from worker.painting import Painter
from worker.second_stream import SecondStream


@dataclass
class Decoding:
    """Asked for at once, and there when somebody says so or waits for it."""

    made: Tensor
    ready: bool = False
    waited: bool = False

    def take(self) -> Tensor:
        self.waited = not self.ready
        return self.made


@dataclass
class SlowStream:
    """As a GPU's second stream: what it is asked for takes a while."""

    begun: list[Decoding] = field(default_factory=list)

    def begin(self, work: Callable[[], Tensor], reads: Sequence[Tensor]) -> Decoding:
        self.begun.append(Decoding(work().cpu()))
        return self.begun[-1]


@pytest.fixture
def base(equipment: Equipment) -> BaseModel:
    return equipment.base


def request(steps: int, seed: int = 1) -> GenerationRequest:
    return GenerationRequest("a photo of a dog", steps=steps, seed=seed)


def test_steps_go_on_while_a_picture_is_decoded_and_it_is_delivered_when_it_is_there(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter, stream, version = Painter(base, batch_rows=16), SlowStream(), compose(base)
    monkeypatch.setattr(painter, "_aside", stream)
    short, long = Order(lambda: version, [request(1)], owner="ada"), Order(lambda: version, [request(6)], owner="ben")  # type: ignore[arg-type]
    for steps_done in (1, 2, 3):
        painter.step([short, long])
        assert (long.steps_done, short.finished.is_set()) == (steps_done, False)
    [decoding] = stream.begun
    decoding.ready = True
    painter.step([short, long])
    assert short.finished.is_set()
    assert not decoding.waited
    assert_close(base, short.pictures(), generate(base, version, [request(1)]))


def test_when_there_is_no_step_to_take_what_is_decoded_is_waited_for(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter, stream, version = Painter(base, batch_rows=16), SlowStream(), compose(base)
    monkeypatch.setattr(painter, "_aside", stream)
    order = Order(lambda: version, [request(1)])
    painter.step([order])
    assert not order.finished.is_set()
    painter.step([order])
    assert order.finished.is_set()
    assert stream.begun[0].waited


def test_what_goes_wrong_on_the_device_meanwhile_fails_those_pictures_and_no_others(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Decoding):
        def take(self) -> Tensor:
            raise RuntimeError("The device said no.")

    class BrokenStream:
        def begin(self, work: Callable[[], Tensor], reads: Sequence[Tensor]) -> Decoding:
            return Broken(work(), ready=True)

    painter, version = Painter(base, batch_rows=16), compose(base)
    failed, later = Order(lambda: version, [request(1)]), Order(lambda: version, [request(2)])
    with monkeypatch.context() as patched:
        patched.setattr(painter, "_aside", BrokenStream())
        painter.step([failed, later])
    painter.step([later])
    assert later.finished.is_set()
    assert len(later.pictures()) == 1
    with pytest.raises(RuntimeError, match="The device said no"):
        failed.pictures()


def test_a_processor_has_no_second_stream_and_answers_at_once() -> None:
    begun = SecondStream(torch.device("cpu")).begin(lambda: torch.ones(2), [])
    assert begun.ready
    assert torch.equal(begun.take(), torch.ones(2))
