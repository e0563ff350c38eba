"""The published examples are followed as they train: what each may move moves, and nothing of the base does."""

from collections.abc import Callable

import pytest
import torch

from benchmarks.learning_step import examples, measure
from benchmarks.learning_step.lesson import make_lesson
from benchmarks.learning_step.published import NotPublished, Precision, PublishedStep
from cns.base_model import BaseModel

WHOLE = Precision(torch.float32, mixed=False)


def moved(loop: PublishedStep) -> list[bool]:
    """Of every trained parameter, whether three steps have changed it."""
    before = [parameter.detach().clone() for parameter in loop.trained]
    for _ in range(3):
        assert 0 < loop.step() < 100
    return [not torch.equal(old, new) for old, new in zip(before, loop.trained, strict=True)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("shape", ["sd1", "sd2"])
def test_dreambooth_moves_the_whole_unet_and_not_the_base(
    shape: str, fused: bool, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    before = base.checksum()
    loop = examples.dreambooth(base, make_lesson(base), 2, WHOLE, fused=fused)
    assert len(loop.trained) == len(list(base.unet.parameters()))
    assert all(moved(loop))
    assert base.checksum() == before


@pytest.mark.parametrize("text_ahead", [True, False])
def test_lora_moves_its_own_matrices_alone(sd1: BaseModel, text_ahead: bool) -> None:
    pytest.importorskip("peft", reason="peft is not installed; the extra `peers` brings it")
    before = sd1.checksum()
    loop = examples.dreambooth_lora(sd1, make_lesson(sd1), 2, WHOLE, fused=True, text_ahead=text_ahead)
    attention = sum(name.endswith(("attn1", "attn2")) for name, _ in sd1.unet.named_modules())
    assert len(loop.trained) == attention * len(examples.LORA_LAYERS) * 2
    assert all(moved(loop))
    assert sd1.checksum() == before


@pytest.mark.parametrize("fused", [True, False])
def test_custom_diffusion_moves_keys_values_and_one_embedding(sd1: BaseModel, fused: bool) -> None:
    before = sd1.checksum()
    loop = examples.custom_diffusion(sd1, make_lesson(sd1), 2, WHOLE, fused=fused)
    table = loop.trained[0].detach().clone()
    assert len(loop.trained) == 1 + len(sd1.kv_weights)
    assert all(moved(loop))
    token = (loop.trained[0] - 1e-2 * 5e-6 * 3 * -table - table).abs().amax(dim=1)  # decay moves every row a little
    assert int(token.argmax()) == int(examples.tokenize(sd1, [examples.RARE])[0, 1])
    assert sd1.checksum() == before


def test_the_peers_and_ours_answer_alike_before_anything_is_learned(sd1: BaseModel) -> None:
    """Custom Diffusion's processors start at the base's own weights: the first answer is the base's."""
    loop = examples.custom_diffusion(sd1, make_lesson(sd1), 2, WHOLE, fused=True)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(sd1.device)
    times = torch.tensor([300], device=sd1.device)
    text = sd1.text_features(["a dog"]).hidden
    with torch.no_grad():
        theirs = loop.unet(latents, times, encoder_hidden_states=text, return_dict=False)[0]
        ours = sd1.unet(latents, times, encoder_hidden_states=text, return_dict=False)[0]
    assert (theirs - ours).abs().max() < 1e-5


def test_sdxl_has_no_example_that_is_followed_here(sdxl: BaseModel) -> None:
    with pytest.raises(NotPublished, match="two"):
        examples.dreambooth(sdxl, make_lesson(sdxl), 2, WHOLE, fused=True)


def test_every_way_is_timed_and_its_memory_taken(sd1: BaseModel) -> None:
    pytest.importorskip("peft", reason="peft is not installed; the extra `peers` brings it")
    said: list[str] = []
    say: Callable[[str], None] = said.append
    figures = measure.measure(sd1, measure.Plan(batch=1, rounds=1, steps=1), say)
    assert set(figures["seconds"]) == set(figures["held_bytes"])
    assert {len(seconds) for seconds in figures["seconds"].values()} == {1}
    assert len(figures["seconds"]) == 3 + 2 * 4
    goals = [bar.goal for bar in measure.report(figures, {"batch": 2, "steps": 1, "mixed": True}).bars]
    assert goals in ([0.8, 0.7] * 2, [0.8, 0.7] * 4)  # by whether the fastest is one that our change has helped


def test_the_fastest_of_theirs_is_what_ours_is_held_against() -> None:
    seconds = {"ours": [2.0], "ours, gradient checkpointing": [1.0], "dreambooth": [8.0], "dreambooth_lora": [4.0]}
    held = {"ours": 60, "ours, gradient checkpointing": 10, "dreambooth": 50, "dreambooth_lora": 100}
    figures = {"side_px": 16, "seconds": seconds, "held_bytes": held, "prepared_bytes": held}
    time, memory = measure.report(figures, {"batch": 2, "steps": 1, "mixed": False}).bars
    assert (time.value, time.holds) == (0.5, True)
    assert (memory.value, memory.holds) == (0.6, True)
    assert "dreambooth_lora" in time.name


def test_it_is_held_against_what_was_published_and_against_the_same_with_our_own_change() -> None:
    seconds = {"ours": [2.0], "dreambooth": [4.0], "dreambooth, attention written out": [2.5]}
    held = dict.fromkeys(seconds, 10)
    figures = {"side_px": 16, "seconds": seconds, "held_bytes": held, "prepared_bytes": held}
    times = measure.report(figures, {"batch": 2, "steps": 1, "mixed": False}).bars[::2]
    assert [(bar.value, bar.holds) for bar in times] == [(0.5, True), (0.8, True)]
    assert "`dreambooth`" in times[0].name
    assert "`dreambooth, attention written out`" in times[1].name


def test_memory_that_nobody_could_measure_holds_nothing() -> None:
    seconds = {"ours": [2.0], "ours, gradient checkpointing": [1.0], "dreambooth": [8.0]}
    nothing = dict.fromkeys(seconds)
    figures = {"side_px": 16, "seconds": seconds, "held_bytes": nothing, "prepared_bytes": nothing}
    memory = measure.report(figures, {"batch": 2, "steps": 1, "mixed": False}).bars[1]
    assert memory.value is None
    assert not memory.holds
