"""What only a real GPU can show: its second stream, its memory running out, its compiled steps, its arithmetic.

pytest tests/worker/test_on_a_gpu.py --device cuda
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select
from torch import Tensor

from app.config import Settings
from app.jobs.models import JobState, WorkerRow
from cns.base_model import BaseModel, load_base
from cns.compiled import CompiledDenoiser
from cns.compiling import CannotCompile, Form, find_compiler
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import SAMPLERS, GenerationRequest, GenerationRun, generate
from cns.errors import CnsError
from storybook import MODEL_FOLDER
from tests.worker.library import TOLERANCE, assert_close, build_run, learn_alone
from tests.worker.processes import wait_until
from tests.worker.test_compiled_steps import draw, small  # noqa: F401 - a fixture
from tests.worker.test_engine import finish, order, rows_of_calls
from tests.worker.world import World
from worker.compiled_steps import CompiledSteps
from worker.compiling import Compiler
from worker.engine import Engine
from worker.equipment import EMBEDDED, Equipment, load_equipment
from worker.generating import generate as generate_job
from worker.learning import learn
from worker.painting import Painter
from worker.process import Worker
from worker.second_stream import SecondStream

PATIENCE_S = 120
A_WHILE = 500_000_000  # cycles of a GPU: some tenths of a second
LARGE_PX = 256  # pictures whose steps take more than the memory that torch asks for at a time
HUGE_PX = 1536  # pictures of which none goes into what LITTLE_BYTES are
LITTLE_BYTES = 256 * 2**20
COMPILED_WITHIN_S = 180.0


@pytest.fixture(scope="session", autouse=True)
def gpu(device: torch.device) -> torch.device:
    if device.type != "cuda":
        pytest.skip("needs a GPU: pytest --device cuda")
    return device


@pytest.fixture(autouse=True)
def exact_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `load_equipment` has it for a base in float32; the tests' own bases do not come from there."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def on_cpu(base_folder: Path) -> BaseModel:
    return load_base(base_folder)


@pytest.fixture(scope="module", params=[torch.float32, torch.float16], ids=["float32", "float16"])
def base(base_folder: Path, gpu: torch.device, request: pytest.FixtureRequest) -> BaseModel:
    return load_base(base_folder, device=gpu, dtype=request.param)


@pytest.fixture(scope="module")
def rex(equipment: Equipment, on_cpu: BaseModel) -> Delta:
    """Learned on the processor: one delta for both devices."""
    return learn_alone(replace(equipment, base=on_cpu), "rex", "dog", steps=4)


@pytest.fixture
def engine(base: BaseModel) -> Iterator[Engine]:
    made = Engine(base, batch_rows=8)
    yield made
    made.stop(timeout_s=10)


def asked(prompt: str = "a photo of a dog", **facts: Any) -> GenerationRequest:
    return GenerationRequest(prompt, **{"steps": 4, "seed": 1, **facts})


@contextmanager
def no_more_memory_than(spare_bytes: int, device: torch.device) -> Iterator[None]:
    """Torch may take so many bytes beyond what is in use now; beyond that its own error of too little memory comes."""
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    most = torch.cuda.memory_reserved(device) + spare_bytes
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


# --- pictures and learnings -------------------------------------------------------------------------------------------


def test_pictures_of_many_requests_made_beside_a_learning_are_nearly_what_the_processor_makes_of_each_alone(
    engine: Engine, base: BaseModel, on_cpu: BaseModel, equipment: Equipment, rex: Delta
) -> None:
    lines: list[list[Delta]] = [[], [rex]]
    wanted = [
        (lines[place % 2], asked("a photo of a <rex> dog" if place % 2 else "a red mug", seed=place, **facts))
        for place, facts in enumerate(
            {"sampler": sampler, "guidance": guidance, "steps": steps, "width_px": side, "height_px": side}
            for sampler in SAMPLERS
            for guidance, steps, side in ((1.0, 3, 16), (3.0, 5, 16), (5.0, 4, 32))
        )
    ]
    versions = [compose(base, line) for line in lines]
    orders = [order(versions[bool(line)], one) for line, one in wanted]
    run = build_run(replace(equipment, base=base), "mugsy", "mug", steps=30)
    pictures_waiting: list[int] = []

    def step() -> float:
        pictures_waiting.append(sum(not one.finished.is_set() for one in orders))
        return run.step()

    for one in orders:
        engine.ask(one)
    learning = engine.turns(step, lambda: not run.done)
    engine.start()
    made = finish(*orders)
    learning.result(PATIENCE_S)
    assert len({waiting for waiting in pictures_waiting if waiting}) > 1  # neither waited for all of the other
    assert all(isfinite(loss) for loss in run.losses)
    for (line, one), pictures in zip(wanted, made, strict=True):
        [expected] = generate(on_cpu, compose(on_cpu, line), [one])
        assert (pictures[0] - expected).abs().max() < 3 * TOLERANCE[base.dtype], one
        assert pictures[0].device.type == "cpu"


def test_what_is_learned_is_nearly_what_the_processor_learns(
    base: BaseModel, on_cpu: BaseModel, equipment: Equipment
) -> None:
    """For a few steps: what rounding leaves grows with every one of them."""
    made, expected = (build_run(replace(equipment, base=one), "rex", "dog", steps=4) for one in (base, on_cpu))
    for run in (made, expected):
        while not run.done:
            run.step()
    assert made.losses == pytest.approx(expected.losses, rel=20 * TOLERANCE[base.dtype])


def test_a_worker_with_the_embedded_base_computes_as_exactly_as_a_processor(gpu: torch.device) -> None:
    torch.backends.cudnn.allow_tf32 = True
    embedded = load_equipment(Settings(base_model=EMBEDDED, device=str(gpu)))
    assert embedded.base.dtype is torch.float32
    assert not torch.backends.cudnn.allow_tf32
    one, on_cpu = asked("a photo of a cat", steps=5), load_base(MODEL_FOLDER)
    [made], [expected] = (generate(base, compose(base), [one]) for base in (embedded.base, on_cpu))
    assert (made - expected).abs().max() < 2e-3


# --- too little memory ------------------------------------------------------------------------------------------------


def test_where_the_memory_really_ends_batches_are_split_and_all_pictures_are_made(
    engine: Engine, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step takes is measured first, and then a little less is left; the engine is not told so beforehand."""
    version, peaks = compose(base), dict[int, int]()
    note = engine.painter.capacity.note

    def noted(size: tuple[int, int], rows: int, seconds: float, peak: int) -> None:
        peaks[rows] = max(peaks.get(rows, 0), peak)
        note(size, rows, seconds, peak)

    monkeypatch.setattr(engine.painter.capacity, "note", noted)
    large = [asked(seed=seed, width_px=LARGE_PX, height_px=LARGE_PX) for seed in range(4)]
    engine.start()
    engine.ask(first := order(version, replace(large[0], steps=6)))
    finish(first)
    engine.ask(plenty := order(version, *large))
    [expected] = finish(plenty)
    assert max(peaks) == 8
    for share in (0.9, 0.75, 0.6, 0.5, 0.4):
        again = order(version, *large)
        with no_more_memory_than(int(share * peaks[8]), base.device), rows_of_calls(base) as rows:
            engine.ask(again)
            [made] = finish(again)
        assert_close(base, made, expected)
        if max(rows[1:]) < 8:
            break
    assert rows[0] == 8  # it was tried
    assert max(rows[1:]) <= 4  # and then never again, for the time being
    assert engine.alive


def test_a_picture_that_the_memory_really_does_not_hold_fails_alone_with_a_sentence_and_leaves_nothing_there(
    engine: Engine, base: BaseModel
) -> None:
    version = compose(base)
    engine.start()
    engine.ask(first := order(version, asked()))
    [expected] = finish(first)
    with no_more_memory_than(LITTLE_BYTES, base.device):
        before = torch.cuda.memory_allocated(base.device)
        huge, other = order(version, asked(width_px=HUGE_PX, height_px=HUGE_PX)), order(version, asked())
        for one in (huge, other):
            engine.ask(one)
        [made] = finish(other)
        with pytest.raises(CnsError, match="make it smaller"):
            finish(huge)
        engine.turn(lambda: None).result(PATIENCE_S)
        assert torch.cuda.memory_allocated(base.device) - before < LITTLE_BYTES // 4
    assert_close(base, made, expected)
    assert engine.alive


def test_a_learning_that_the_memory_does_not_hold_fails_and_pictures_go_on(
    engine: Engine, base: BaseModel, equipment: Equipment
) -> None:
    engine.start()
    engine.ask(first := order(compose(base), asked()))
    finish(first)

    def take_all() -> Tensor:
        return torch.empty(2 * LITTLE_BYTES, dtype=torch.uint8, device=base.device)

    with no_more_memory_than(LITTLE_BYTES, base.device):
        with pytest.raises(torch.OutOfMemoryError):
            engine.turn(take_all).result(PATIENCE_S)
        engine.ask(one := order(compose(base), asked()))
        assert len(finish(one)[0]) == 1


# --- the second stream ------------------------------------------------------------------------------------------------


def latents_of(base: BaseModel, version: Version, count: int = 3) -> Tensor:
    runs = [GenerationRun(base, version, asked(seed=seed)) for seed in range(count)]
    return torch.cat([run.latents for run in runs]) / 4


def test_what_the_second_stream_decodes_is_what_the_first_one_would(base: BaseModel) -> None:
    latents = latents_of(base, compose(base))
    expected = base.decode_latents(latents).cpu()
    begun = SecondStream(base.device).begin(lambda: base.decode_latents(latents), [latents])
    made = begun.take()
    assert begun.ready
    assert made.is_pinned()
    assert (made - expected).abs().max() < TOLERANCE[base.dtype]


def test_it_waits_for_what_it_reads_and_what_it_reads_is_not_given_away_meanwhile(base: BaseModel) -> None:
    """The latents come late, are dropped at once, and the first stream writes over all memory that it gets."""
    source = latents_of(base, compose(base))
    expected = base.decode_latents(source).cpu()
    stream = SecondStream(base.device)
    stream.begin(lambda: base.decode_latents(source), [source]).take()  # what libraries load at first waits for all
    torch.cuda._sleep(A_WHILE)
    late = [source * 1]

    def decode_later() -> Tensor:
        torch.cuda._sleep(A_WHILE)
        return base.decode_latents(late[0])

    begun = stream.begin(decode_later, late)
    at_once = not begun.ready
    late.clear()
    overwritten = [torch.full_like(source, float("nan")) for _ in range(100)]
    assert at_once  # Python went on while the GPU had not even begun
    assert (begun.take() - expected).abs().max() < TOLERANCE[base.dtype]
    assert overwritten[0].isnan().all()


def test_steps_go_on_while_pictures_are_decoded_and_each_gets_its_own(base: BaseModel) -> None:
    painter, version = Painter(base, batch_rows=16), compose(base)
    requests = [asked(seed=seed, steps=1 + seed % 6) for seed in range(24)]
    orders = [order(version, one) for one in requests]
    while waiting := [one for one in orders if not one.finished.is_set()]:
        painter.step(waiting)
    for one, request in zip(orders, requests, strict=True):
        assert_close(base, one.pictures(), generate(base, version, [request]))


# --- compiled steps ---------------------------------------------------------------------------------------------------


class Telling(Compiler):
    """Says why there is nothing."""

    why = ""

    def compile(self, form: Form) -> CompiledDenoiser:
        try:
            return super().compile(form)
        except CannotCompile as error:
            self.why = str(error)
            raise


@pytest.mark.skipif(find_compiler() is None, reason="compiling a step needs a C++ compiler, and there is none here")
def test_a_compiled_step_gives_nearly_what_the_plain_one_gives(
    small: BaseModel,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.compiling.LIMIT_S", COMPILED_WITHIN_S)
    monkeypatch.setattr("worker.trial.PAYS", float("inf"))  # whether it is faster is not the question here
    before, compiler = small.checksum(), Telling(small)
    steps = CompiledSteps(small, compiler, worth_steps=1)
    try:
        draw(small, steps, asked(steps=3))
        steps.wait()
        if compiler.why:
            pytest.skip(compiler.why)
        requests = [asked(seed=seed, steps=16, sampler=name) for seed, name in enumerate(["ddim", "euler", "unipc"])]
        for count in (1, 2, 3):
            made = draw(small, steps, *requests[:count])
            assert_close(small, made, generate(small, compose(small), requests[:count]))
        assert set(steps.shares()) >= {2, 4}  # tried to the end: it answers the same, and was used from then on
    finally:
        steps.stop()
    assert small.checksum() == before


# --- what it says of itself -------------------------------------------------------------------------------------------


def test_a_worker_names_its_gpu_and_the_memory_that_it_has_taken(worker: Worker, world: World) -> None:
    device = worker.equipment.base.device

    def row() -> WorkerRow:
        with world.sessions() as session:
            return session.scalars(select(WorkerRow)).one()

    history = world.history()
    jobs: list[tuple[Callable[..., bool], Any]] = [
        (learn, world.learning(history)),
        (generate_job, world.generation(history, "a photo of a dog", count=3)),
    ]
    for work, job in jobs:
        assert work(worker, job)
        assert world.job(job).state == JobState.DONE
    wait_until(lambda: row().holds["batches"], "it has told of its batches", patience_s=30)
    told = row()
    total = torch.cuda.get_device_properties(device).total_memory
    assert told.device == torch.cuda.get_device_name(device)[:60]
    assert 0 < told.holds["memory_bytes"] < total
    assert 0 < (worker.learning_peak_bytes or 0) < total
    assert told.holds["batches"][0]["size"] == "16x16"
    assert told.holds["batches"][0]["rows"] >= 2
