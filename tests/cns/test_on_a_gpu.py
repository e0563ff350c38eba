"""The same work on a GPU as on a CPU: `pytest --device cuda`. What would hold a CPU against itself is skipped there.

Everything is in float32 and without shortcuts of the GPU's (TF32), so that what lies apart is the order of sums alone.
How far apart the two are is printed: `-rP` shows it of tests that pass as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cns.base_model import BaseModel, load_base
from cns.compose import compose
from cns.delta import Delta
from cns.denoise import SAMPLERS, GenerationRequest, generate
from cns.examination import ExaminationSettings, StudiedConcept, examine
from cns.export import export_diffusers
from cns.judge import load_judge
from cns.learning import LearningRun
from cns.learning_together import step_together
from cns.preview import fit_preview
from cns.regions import Region
from cns.spreading import spread_into_weights
from storybook import MODEL_FOLDER
from tests.cns.test_learning import GENERAL, SETTINGS, concept, learn

LEVELS = 2 / 255
"""Of a picture in 0..1: two of the levels that a file has."""
VALUE = 2e-3
"""Of a value after five steps of 4e-3 each, and of the token's after five of 1e-2."""
SAME_ENTRIES = 0.999
"""Share of the selected entries: where two scores of a row are equal but for rounding, devices may choose another."""


@pytest.fixture(scope="session")
def elsewhere(device: torch.device) -> torch.device:
    """A device to be held against the CPU."""
    if device.type == "cpu":
        pytest.skip("holds a GPU against the CPU: name one with --device")
    return device


AGAINST_THE_CPU = pytest.mark.usefixtures("elsewhere")


@pytest.fixture(autouse=True)
def _no_shortcuts(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    convolutions: Any = torch.backends.cudnn.conv
    before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    yield
    convolutions.fp32_precision = before


@pytest.fixture(scope="module")
def storybook(device: torch.device) -> BaseModel:
    return load_base(MODEL_FOLDER, device=device)


@pytest.fixture(scope="module")
def storybook_on_cpu(device: torch.device, storybook: BaseModel) -> BaseModel:
    return storybook if device.type == "cpu" else load_base(MODEL_FOLDER)


@pytest.fixture(scope="module")
def on_cpu(sd1_folder: Path) -> BaseModel:
    """What `sd1` is, on the CPU."""
    return load_base(sd1_folder)


def apart(first: Tensor, second: Tensor) -> float:
    return float((first.float().cpu() - second.float().cpu()).abs().max())


def tell(name: str, value: float) -> None:
    print(f"{name}: {value:.3g}")  # noqa: T201 - what is printed is what this test is run for


def entries_of(positions: Mapping[str, Tensor]) -> set[tuple[str, int]]:
    return {(layer, spot) for layer, where in positions.items() for spot in where.tolist()}


def assert_nearly_same_learning(found: Delta, expected: Delta) -> None:
    spots, others = entries_of(found.positions), entries_of(expected.positions)
    same = len(spots & others) / len(spots | others)
    tell("share of the entries that both chose", same)
    values = {
        spot: value
        for layer, where in expected.positions.items()
        for spot, value in zip(((layer, place) for place in where.tolist()), expected.values[layer].tolist())
    }
    furthest = max(
        abs(value - values.get((layer, place), value))
        for layer, where in found.positions.items()
        for place, value in zip(where.tolist(), found.values[layer].tolist())
    )
    tokens = max(apart(*pair) for pair in zip(found.token_vectors, expected.token_vectors, strict=True))
    tell("furthest value", furthest)
    tell("furthest number of the token", tokens)
    assert same >= SAME_ENTRIES
    assert max(furthest, tokens) < VALUE


def take_steps(run: LearningRun, count: int) -> None:
    for _ in range(count):
        run.step()


# --- pictures -------------------------------------------------------------------------------------------------------


@AGAINST_THE_CPU
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_request_gives_nearly_the_same_picture_as_on_the_cpu(
    sampler: str, storybook: BaseModel, storybook_on_cpu: BaseModel
) -> None:
    asked = GenerationRequest("a photo of a red dog on the grass", seed=3, steps=4, guidance=4.0, sampler=sampler)
    pictures = [generate(base, compose(base), [asked])[0] for base in (storybook, storybook_on_cpu)]
    assert pictures[0].device.type == "cpu"
    tell(f"furthest pixel by {sampler}", apart(*pictures))
    assert apart(*pictures) < LEVELS


@AGAINST_THE_CPU
@pytest.mark.parametrize("shape", ["sd1", "sd2", "sdxl"])
def test_bases_of_every_shape_paint_concepts_apart_and_in_regions_as_on_the_cpu(
    shape: str, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    other = load_base(request.getfixturevalue(f"{shape}_folder"))
    deltas = [learn(other, taught=concept("rex", "dog"), reach="token", steps=1)]
    deltas.append(learn(other, deltas, concept("tom", "cat"), reach="token", steps=1))
    asked = [
        GenerationRequest("a <rex> dog and a <tom> cat", steps=3, guidance=3.0),
        GenerationRequest("the grass", steps=2, guidance=3.0, regions=(Region("a <rex> dog", 0.0, 0.0, 0.5, 1.0),)),
    ]
    pictures = [generate(one, compose(one, deltas), asked) for one in (base, other)]
    furthest = max(apart(*pair) for pair in zip(*pictures, strict=True))
    tell("furthest pixel", furthest)
    assert furthest < LEVELS


@AGAINST_THE_CPU
def test_a_look_at_latents_is_on_the_device_and_nearly_the_same(sd1: BaseModel, on_cpu: BaseModel) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    looks = [fit_preview(base)(latents.to(base.device)) for base in (sd1, on_cpu)]
    assert looks[0].device.type == sd1.device.type
    assert apart(*looks) < LEVELS


# --- learning -------------------------------------------------------------------------------------------------------


@AGAINST_THE_CPU
@pytest.mark.parametrize("reach", ["everywhere", "token"])
@pytest.mark.parametrize("shape", ["sd1", "sd2", "sdxl"])
def test_a_learning_chooses_and_learns_nearly_the_same_as_on_the_cpu(
    shape: str, reach: str, request: pytest.FixtureRequest
) -> None:
    """On top of another, so that what is known is kept."""
    base: BaseModel = request.getfixturevalue(shape)
    other = load_base(request.getfixturevalue(f"{shape}_folder"))
    earlier = learn(other, taught=concept("max", seed=3), steps=1)
    changes = {"reach": reach, "wide_guided": 0.5 if reach == "token" else 1.0}
    found, expected = (learn(one, [earlier], **changes) for one in (base, other))
    assert all(values.device.type == "cpu" for values in found.values.values())
    assert_nearly_same_learning(found, expected)


@AGAINST_THE_CPU
def test_a_learning_in_mixed_precision_goes_as_on_the_cpu(sd1: BaseModel, on_cpu: BaseModel) -> None:
    changes = {"mixed_precision": True, "gradient_checkpointing": True, "flip": True, "min_snr_gamma": 5.0}
    losses = []
    for base in (sd1, on_cpu):
        run = LearningRun(base, compose(base), concept(), replace(SETTINGS, **changes), calibration=GENERAL)
        take_steps(run, run.settings.steps)
        losses.append(run.losses)
        assert run.finish().size > 0
    tell("furthest loss", max(abs(one - other) for one, other in zip(*losses, strict=True)))
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_same_learning_twice_gives_the_same_bytes(sd1: BaseModel, mixed: bool) -> None:
    first, second = (learn(sd1, mixed_precision=mixed) for _ in range(2))
    assert entries_of(first.positions) == entries_of(second.positions)
    furthest = max(apart(values, second.values[layer]) for layer, values in first.values.items())
    tell("furthest value", furthest)
    assert first.digest == second.digest, f"The furthest values lie {furthest:.3g} apart."


@AGAINST_THE_CPU
@pytest.mark.parametrize("begun_on_the_cpu", [False, True])
def test_a_checkpoint_goes_on_on_another_device(sd1: BaseModel, on_cpu: BaseModel, begun_on_the_cpu: bool) -> None:
    first, second = (on_cpu, sd1) if begun_on_the_cpu else (sd1, on_cpu)
    begun = LearningRun(first, compose(first), concept(), SETTINGS, calibration=GENERAL)
    take_steps(begun, 2)
    saved = begun.checkpoint()
    again = LearningRun(second, compose(second), concept(), SETTINGS, calibration=GENERAL, resume=saved)
    for run in (begun, again):
        take_steps(run, SETTINGS.steps - 2)
    assert_nearly_same_learning(again.finish(), begun.finish())


def test_learnings_go_together(sd1: BaseModel) -> None:
    def build() -> Sequence[LearningRun]:
        taught = (concept("rex"), concept("tom", "cat", seed=1))
        return [LearningRun(sd1, compose(sd1), one, SETTINGS, calibration=GENERAL) for one in taught]

    alone, together = build(), build()
    for run in alone:
        take_steps(run, SETTINGS.steps)
    for _ in range(SETTINGS.steps):
        assert all(isinstance(outcome, float) for outcome in step_together(together))
    for run, other in zip(together, alone, strict=True):
        assert_nearly_same_learning(run.finish(), other.finish())


# --- half precision -------------------------------------------------------------------------------------------------


@AGAINST_THE_CPU
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_storybook_in_half_precision_paints_and_learns_finite_numbers(
    dtype: torch.dtype, device: torch.device
) -> None:
    base = load_base(MODEL_FOLDER, device=device, dtype=dtype)
    settings = replace(SETTINGS, steps=2, batch=2, lr_weights=1e-3)
    run = LearningRun(base, compose(base), concept(), settings, calibration=GENERAL)
    take_steps(run, 2)
    assert all(torch.tensor(run.losses).isfinite())
    version = compose(base, [run.finish()])
    [picture] = generate(base, version, [GenerationRequest("a photo of a <rex> dog", steps=2, guidance=4.0)])
    assert picture.isfinite().all()
    assert picture.std() > 0.02


# --- around it ------------------------------------------------------------------------------------------------------


@AGAINST_THE_CPU
def test_a_lesson_is_examined_on_the_device(judged_folder: Path, device: torch.device) -> None:
    scores = []
    for place in (device, torch.device("cpu")):
        base, judge = load_base(judged_folder, device=place), load_judge(judged_folder / "clip", place)
        taught, before = concept(), compose(base)
        delta = learn(load_base(judged_folder), taught=taught, steps=1)
        studied = StudiedConcept("rex", "dog", taught.pictures)
        settings = ExaminationSettings(pictures_per_prompt=1, steps=2, generic_pictures=2)
        found = examine(base, judge, before, compose(base, [delta]), studied, settings=settings)
        scores.append(found.concepts["rex"].clip_i)
    tell("likeness lies apart by", abs(scores[0] - scores[1]))
    assert scores[0] == pytest.approx(scores[1], abs=1e-2)


@AGAINST_THE_CPU
def test_what_is_exported_from_the_device_is_the_same_base(sd1: BaseModel, tmp_path: Path) -> None:
    """Convolutions lie in another order there, which no file knows."""
    again = load_base(export_diffusers(sd1, compose(sd1), tmp_path / "out"))
    assert again.id == sd1.id


@AGAINST_THE_CPU
def test_values_at_a_token_are_spread_into_nearly_the_same_weights(sd1: BaseModel, on_cpu: BaseModel) -> None:
    delta = learn(on_cpu, reach="token", steps=2)
    spread = [spread_into_weights(base, compose(base, [delta]), GENERAL) for base in (sd1, on_cpu)]
    assert spread[0].missed == pytest.approx(spread[1].missed, rel=1e-2)
    assert (
        max(apart(weight, spread[1].version.weights[name]) for name, weight in spread[0].version.weights.items()) < 1e-3
    )
