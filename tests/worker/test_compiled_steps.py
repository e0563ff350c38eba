"""Steps are compiled beside the pictures, and used only where they answer the same; nobody waits for it."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from app.config import Settings
from cns.base_model import BaseModel, load_base
from cns.compiled import CompiledDenoiser
from cns.compiling import CannotCompile, Form, find_compiler
from cns.compose import compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, generate
from cns.kv import LayerKV, handed_attention, predict
from cns.regions import Region
from tests import tiny
from tests.cns.test_compose import make_delta
from tests.worker.library import assert_close
from worker.compiled_steps import CompiledSteps
from worker.compiling import Compiler
from worker.equipment import Equipment
from worker.orders import Order
from worker.painting import Painter
from worker.process import compiled_steps

PATIENCE_S = 60


@pytest.fixture
def base(equipment: Equipment) -> BaseModel:
    return equipment.base


class InHand:
    """A denoiser that is no faster, of which it is known how many rows it was asked for. wrong: what it adds."""

    def __init__(self, base: BaseModel, wrong: float = 0.0, error: Exception | None = None):
        self._base, self._wrong, self._error = base, wrong, error
        self.rows: list[int] = []

    takes = staticmethod(CompiledDenoiser.takes)

    def __call__(
        self, latents: Tensor, timesteps: Tensor, kv: LayerKV, added: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        self.rows.append(len(latents))
        if self._error is not None:
            raise self._error
        return predict(self._base, latents, timesteps, kv, added) + self._wrong


class Workbench:
    """Compiles what a test gives it, as soon as the test says so."""

    def __init__(self, made: InHand | Exception, ready: bool = True):
        self.made, self.asked = made, list[Form]()
        self.ready = threading.Event()
        if ready:
            self.ready.set()

    def compile(self, form: Form) -> InHand:
        self.asked.append(form)
        assert self.ready.wait(PATIENCE_S)
        if isinstance(self.made, Exception):
            raise self.made
        return self.made

    def stop(self) -> None:
        self.ready.set()


@pytest.fixture
def begin(base: BaseModel) -> Iterator[Callable[..., CompiledSteps]]:
    begun: list[CompiledSteps] = []

    def begin(bench: Workbench, worth_steps: int = 1) -> CompiledSteps:
        begun.append(CompiledSteps(base, bench, worth_steps))  # type: ignore[arg-type]
        return begun[-1]

    yield begin
    for steps in begun:
        steps.stop()


def draw(
    base: BaseModel, call: CompiledSteps, *requests: GenerationRequest, deltas: Sequence[Delta] = ()
) -> list[Tensor]:
    painter, order = Painter(base, batch_rows=16, call=call), Order(lambda: compose(base, deltas), requests)
    while not order.finished.is_set():
        painter.step([order])
    return order.pictures()


def begin_compiling(base: BaseModel, steps: CompiledSteps) -> None:
    """By a first step that is counted and a second one that asks; the next one finds what was made of it."""
    draw(base, steps, request(steps=2))
    steps.wait()


def request(steps: int = 3, **facts: object) -> GenerationRequest:
    return GenerationRequest("a photo of a dog", **{"steps": steps, "seed": 1, **facts})  # type: ignore[arg-type]


def test_pictures_are_made_while_their_step_is_still_being_compiled(
    base: BaseModel, begin: Callable[..., CompiledSteps]
) -> None:
    bench = Workbench(InHand(base), ready=False)
    steps = begin(bench)
    assert_close(base, draw(base, steps, request()), generate(base, compose(base), [request()]))
    assert not bench.ready.is_set()
    assert len(bench.asked) <= 1


def test_a_form_is_compiled_once_and_only_when_it_came_often_enough(
    base: BaseModel, begin: Callable[..., CompiledSteps]
) -> None:
    bench = Workbench(InHand(base))
    steps = begin(bench, worth_steps=5)
    draw(base, steps, request(steps=5))  # the fifth is the last that is counted
    assert bench.asked == []
    draw(base, steps, request(steps=5))
    steps.wait()
    draw(base, steps, request(steps=5))
    assert len(bench.asked) == 1


def test_each_number_of_rows_is_tried_by_itself(base: BaseModel, begin: Callable[..., CompiledSteps]) -> None:
    made = InHand(base)
    steps = begin(Workbench(made))
    begin_compiling(base, steps)
    draw(base, steps, request(steps=8))
    draw(base, steps, request(steps=8), request(steps=8, seed=2))
    assert set(made.rows) == set(steps.shares()) == {2, 4}


def test_a_denoiser_that_answers_otherwise_is_asked_once_and_changes_no_picture(
    base: BaseModel, begin: Callable[..., CompiledSteps]
) -> None:
    made = InHand(base, wrong=0.1)
    steps = begin(Workbench(made))
    begin_compiling(base, steps)
    assert_close(base, draw(base, steps, request(steps=9)), generate(base, compose(base), [request(steps=9)]))
    assert made.rows == [2]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_agrees_with_nothing(
    wrong: float, base: BaseModel, begin: Callable[..., CompiledSteps]
) -> None:
    made = InHand(base, wrong=wrong)
    steps = begin(Workbench(made))
    begin_compiling(base, steps)
    draw(base, steps, request(steps=4))
    assert made.rows == [2]


def test_a_denoiser_that_fails_is_given_up_and_the_pictures_are_made_all_the_same(
    base: BaseModel, begin: Callable[..., CompiledSteps], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "worker.compiled_steps")
    made = InHand(base, error=RuntimeError("no"))
    steps = begin(Workbench(made))
    begin_compiling(base, steps)
    assert_close(base, draw(base, steps, request(steps=4)), generate(base, compose(base), [request(steps=4)]))
    assert made.rows == [2]
    assert "Steps of this form are not compiled any more" in caplog.text


@pytest.mark.parametrize("error", [CannotCompile("There is no C++ compiler here."), OSError("The disk is full.")])
def test_where_nothing_can_be_compiled_one_sentence_says_so_and_steps_stay_as_they_are(
    error: Exception, base: BaseModel, begin: Callable[..., CompiledSteps], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "worker.compiled_steps")
    bench = Workbench(error)
    steps = begin(bench)
    begin_compiling(base, steps)
    draw(base, steps, request(steps=4))
    draw(base, steps, request(steps=4))
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [f"Steps stay as they are, without compiling: {error}"]
    assert len(bench.asked) == 1


def test_steps_with_regions_or_concepts_kept_apart_or_of_a_single_row_are_never_compiled(
    base: BaseModel, begin: Callable[..., CompiledSteps]
) -> None:
    made = InHand(base)
    steps = begin(Workbench(made))
    begin_compiling(base, steps)
    draw(base, steps, request(steps=2, regions=(Region("a red mug", 0.0, 0.0, 0.5, 0.5),)))
    draw(base, steps, request(steps=2, guidance=1.0))
    near = [replace(make_delta(base, name, seed), reach="token") for seed, name in enumerate(("rex", "momo"))]
    both = replace(request(steps=2), prompt="a <rex> cat and a <momo> cat")
    draw(base, steps, both, deltas=near)
    assert made.rows == []
    draw(base, steps, replace(both, apart=False), deltas=near)
    assert made.rows  # the same prompt is tried, once its concepts may mix


def test_on_a_processor_steps_that_would_hold_everybody_up_are_not_compiled(
    base: BaseModel, begin: Callable[..., CompiledSteps], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled step lets no other thread of Python in, heartbeats neither."""
    monkeypatch.setattr("worker.compiled_steps.LONGEST_S", 0.0)
    bench = Workbench(InHand(base))
    draw(base, begin(bench), request())
    assert bench.asked == []


def test_steps_are_compiled_where_the_settings_ask_for_it_and_nowhere_else(base: BaseModel) -> None:
    assert compiled_steps(Settings(), base) is None
    steps = compiled_steps(Settings(compile_step="auto"), base)
    assert steps is not None
    steps.stop()
    with pytest.raises(ValueError, match="compile_step"):
        Settings(compile_step="always")


def test_after_stopping_nothing_is_compiled_any_more(base: BaseModel, begin: Callable[..., CompiledSteps]) -> None:
    bench = Workbench(InHand(base))
    steps = begin(bench)
    steps.stop()
    assert_close(base, draw(base, steps, request()), generate(base, compose(base), [request()]))
    assert bench.asked == []


# --- really compiled ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, device: torch.device) -> BaseModel:
    """An SDXL shape with a UNet of a single level: compiling takes as long as there are layers."""
    folder = tiny.build_sdxl(tmp_path_factory.mktemp("small") / "sdxl")
    unet = tiny.seeded(
        lambda: tiny.build_unet(
            block_out_channels=(32,),
            down_block_types=("CrossAttnDownBlock2D",),
            mid_block_type=None,
            up_block_types=("UpBlock2D",),
            cross_attention_dim=80,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=48 + 6 * 8,
        ),
        seed=3,
    )
    unet.save_pretrained(folder / "unet")
    return load_base(folder, device=device)


@pytest.mark.skipif(find_compiler() is None, reason="compiling a step needs a C++ compiler, and there is none here")
def test_a_compiled_step_gives_the_same_pictures_for_any_number_of_rows_and_compiles_nothing_in_this_process(
    small: BaseModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL", "O0")  # sooner there, and fast enough
    monkeypatch.setattr("worker.trial.PAYS", float("inf"))  # whether it is faster is not the question here
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = small.checksum()
    steps = CompiledSteps(small, Compiler(small), worth_steps=1)
    try:
        draw(small, steps, request(steps=2))
        steps.wait()
        counters.clear()
        asked = [request(steps=10, seed=seed, sampler=name) for seed, name in enumerate(["ddim", "euler", "unipc"])]
        for count in (1, 2, 3):
            made = draw(small, steps, *asked[:count])
            assert_close(small, made, generate(small, compose(small), asked[:count]))
        assert set(steps.shares()) == {2, 4, 6}  # tried to the end, so most of the steps above were compiled ones
    finally:
        steps.stop()
    assert not counters["stats"]  # neither graphs broken nor compiled again: no call here can compile anything
    assert small.checksum() == before
    assert list(tmp_path.glob("palimpsest-step-*")) == []


@pytest.mark.skipif(find_compiler() is None, reason="compiling a step needs a C++ compiler, and there is none here")
def test_a_compilation_ends_when_the_worker_stops(small: BaseModel) -> None:
    steps = CompiledSteps(small, Compiler(small), worth_steps=1)
    draw(small, steps, request(steps=3))
    steps.stop()  # returns in seconds, not when the program would be there
    with handed_attention(small.unet):
        assert torch.isfinite(draw(small, steps, request(steps=2))[0]).all()
