"""Learning: only what was selected moves, the base never does, and stopping in between changes nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cns import learning as learning_module
from cns.base_model import BaseModel, load_base
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, generate
from cns.kv import keys_and_values
from cns.learning import Concept, LearningRefused, LearningRun, LearningSettings, SelectionSettings
from cns.learning_rows import EncodedPictures, repeat_rows
from cns.losses import diffusion_loss
from cns.selection import ConceptMasks
from cns.settings import Reach, change_settings

GENERAL = ("a red robot", "a blue house at night", "the mug on grass")
SETTINGS = LearningSettings(
    steps=5,
    batch=3,
    lr_weights=4e-3,
    lr_token=1e-2,
    warmup_steps=2,
    mixed_precision=False,
    selection=SelectionSettings(general_prompts=3),
)


def concept(name: str = "rex", noun: str = "dog", seed: int = 0, count: int = 3) -> Concept:
    rng = np.random.default_rng(seed)
    pictures = tuple(Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)) for _ in range(count))
    places = ("on grass", "at night", "and a house")
    return Concept(name, noun, pictures, tuple(f"a photo of <{name}> {noun} {place}" for place in places[:count]))


def run(base: BaseModel, version: Version, taught: Concept, settings: LearningSettings = SETTINGS) -> LearningRun:
    return LearningRun(base, version, taught, settings, calibration=GENERAL)


def learn(base: BaseModel, deltas: Sequence[Delta] = (), taught: Concept | None = None, **changes: object) -> Delta:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    learning = run(base, compose(base, deltas), taught or concept(), settings)
    while not learning.done:
        learning.step()
    return learning.finish()


@pytest.mark.parametrize("shape", ["sd1", "sd2", "sdxl"])
def test_a_learning_gives_a_delta_and_leaves_the_base_as_it_was(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    checksum = base.checksum()
    delta = learn(base)
    version = compose(base, [Delta.from_bytes(delta.to_bytes(), base_id=base.id)])
    picture = generate(base, version, [GenerationRequest("a photo of <rex> dog", steps=2)])[0]
    assert picture.isfinite().all()
    assert base.checksum() == checksum
    assert len(delta.token_vectors) == len(base.text_encoders)
    assert 0 < delta.report["density"]["concept"] < delta.report["density"]["base"]


def test_an_unselected_value_cannot_move_and_selected_ones_do(sd1: BaseModel) -> None:
    learning = run(sd1, compose(sd1), concept())
    while not learning.done:
        learning.step()
    version = learning.sample_version()
    for layer, where in learning.entries.where.items():
        moved = (version.weights[layer] != sd1.kv_weights[layer]).flatten()
        assert moved.sum() == moved[where].sum() > 0.5 * len(where)


def test_gradients_go_only_where_something_is_learned_and_pictures_are_encoded_once(
    sd1: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing before the first attention to text is differentiated, nor a prompt without the token."""
    learning = run(sd1, compose(sd1), concept())
    monkeypatch.setattr(sd1, "encode_images", None)  # the latents are there
    asks: dict[str, bool] = {}
    before, after = sd1.unet.down_blocks[0].resnets[0], sd1.unet.down_blocks[0].attentions[0]

    def listen(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: asks.update({name: _tensor(output).requires_grad})

    handles = [before.register_forward_hook(listen("before")), after.register_forward_hook(listen("after"))]
    try:
        learning.step()
    finally:
        for handle in handles:
            handle.remove()
    assert asks == {"before": False, "after": True}
    assert not sd1.text_features(["a dog"], {"<rex>": tuple(learning.token)}).hidden.requires_grad
    assert sd1.text_features(["a <rex>"], {"<rex>": tuple(learning.token)}).hidden.requires_grad
    assert all(part.grad is None for part in (*sd1.unet.parameters(), *sd1.text_encoders[0].parameters()))


def _tensor(output: object) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]  # type: ignore[index, no-any-return]


def test_a_selector_of_ones_own_chooses_what_is_learned(sd1: BaseModel) -> None:
    chosen = {
        layer: torch.eye(*weight.shape, dtype=torch.bool).to(sd1.device) for layer, weight in sd1.kv_weights.items()
    }
    learning = LearningRun(
        sd1,
        compose(sd1),
        concept(),
        replace(SETTINGS, steps=1),
        calibration=GENERAL,
        selector=lambda weights, captions, calibration, settings: ConceptMasks(chosen, {}, chosen),
    )
    assert learning.values.numel() == sum(int(mask.sum()) for mask in chosen.values())
    for layer, mask in chosen.items():
        assert torch.equal(learning.entries.where[layer], mask.flatten().nonzero().flatten())


def test_the_same_inputs_give_the_same_bytes_twice(sd1: BaseModel) -> None:
    assert learn(sd1).to_bytes() == learn(sd1).to_bytes()
    assert learn(sd1).digest != learn(sd1, seed=1).digest


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_repeated_rows_have_the_same_gradient_every_time_on_several_threads() -> None:
    """At a size where PyTorch spreads indexing over threads: with idle cores nearly every repeat of that differed."""
    generator = torch.Generator().manual_seed(0)
    keys, gradient = torch.randn(2, 16, 16, generator=generator), torch.randn(515, 16, 16, generator=generator)
    counts, found = [512, 3], set()
    with _threads(2):
        for _ in range(60):
            rows = keys.clone().requires_grad_()
            repeated = repeat_rows(rows, counts)
            repeated.backward(gradient)
            assert rows.grad is not None
            found.add(rows.grad.numpy().tobytes())
    assert torch.equal(repeated, keys[[0] * 512 + [1] * 3])
    assert len(found) == 1


def test_the_same_inputs_give_the_same_bytes_on_several_threads(sd1: BaseModel) -> None:
    with _threads(2):
        assert learn(sd1, batch=32, steps=2).digest == learn(sd1, batch=32, steps=2).digest


def test_pictures_with_one_caption_share_one_pass_through_the_text_encoder(
    sd1: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[Sequence[str]] = []
    original = sd1.text_features

    def listen(prompts: Sequence[str], *rest: object) -> object:
        encoded.append(prompts)
        return original(prompts, *rest)  # type: ignore[arg-type]

    several = concept()
    alike = replace(several, captions=("a photo of <rex> dog",) * len(several.pictures))
    learning = run(sd1, compose(sd1), alike, replace(SETTINGS, flip=True))
    monkeypatch.setattr(sd1, "text_features", listen)
    learning.step()
    assert encoded == [["a photo of <rex> dog"]]


def test_a_step_that_was_broken_off_leaves_nothing_behind(sd1: BaseModel) -> None:
    first = learn(sd1)
    learning = run(sd1, compose(sd1, [first]), concept("max", seed=1))
    while not learning.done:
        learning.ask()
        learning.step()
    assert learning.finish().digest == learn(sd1, [first], concept("max", seed=1)).digest


@pytest.mark.parametrize("stop_after", [0, 2, 5])
def test_an_interrupted_learning_ends_with_the_same_digest(sd1: BaseModel, stop_after: int) -> None:
    whole = learn(sd1)
    first = run(sd1, compose(sd1), concept())
    for _ in range(stop_after):
        first.step()
    saved = first.checkpoint()
    first_losses = list(first.losses)
    resumed = LearningRun(sd1, compose(sd1), concept(), SETTINGS, calibration=GENERAL, resume=saved)
    assert resumed.steps_done == stop_after
    assert resumed.losses == first_losses
    while not resumed.done:
        resumed.step()
    assert resumed.finish().digest == whole.digest


def test_a_checkpoint_of_another_learning_is_refused(sd1: BaseModel) -> None:
    saved = run(sd1, compose(sd1), concept()).checkpoint()
    for other in (concept(seed=1), concept(name="max")):
        with pytest.raises(LearningRefused, match="another learning"):
            LearningRun(sd1, compose(sd1), other, SETTINGS, calibration=GENERAL, resume=saved)
    with pytest.raises(LearningRefused, match="cannot be read"):
        LearningRun(sd1, compose(sd1), concept(), SETTINGS, calibration=GENERAL, resume=saved[:50])


def test_a_learning_goes_on_where_latents_are_rounded_otherwise(
    sd1: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another processor, or another number of threads."""
    first = run(sd1, compose(sd1), concept())
    first.step()
    saved = first.checkpoint()
    encode = learning_module.encode_pictures

    def encode_elsewhere(*given: Any, **named: Any) -> EncodedPictures:
        encoded = encode(*given, **named)
        return replace(encoded, latents=encoded.latents + 1e-6)

    monkeypatch.setattr(learning_module, "encode_pictures", encode_elsewhere)
    resumed = LearningRun(sd1, compose(sd1), concept(), SETTINGS, calibration=GENERAL, resume=saved)
    assert not torch.equal(resumed.pictures.latents, first.pictures.latents)
    assert resumed.steps_done == 1
    others = concept(seed=1).pictures
    for pictures in ((*concept().pictures[:2], others[2]), concept().pictures[::-1]):
        other = replace(concept(), pictures=pictures)
        with pytest.raises(LearningRefused, match="another learning"):
            LearningRun(sd1, compose(sd1), other, SETTINGS, calibration=GENERAL, resume=saved)


def test_a_second_concept_is_learned_on_top_of_the_first(sd1: BaseModel) -> None:
    first = learn(sd1)
    second = learn(sd1, [first], concept("max", "dog", seed=1))
    assert second.parent == first.digest
    assert second.report["overlap"] > 0
    shared = [
        len(set(first.positions[layer].tolist()) & set(second.positions[layer].tolist())) for layer in second.positions
    ]
    assert sum(shared) > 0
    both = compose(sd1, [first, second])
    assert set(both.tokens) == {"<rex>", "<max>"}


def _moved_where_owned(first: Delta, second: Delta) -> float:
    total = 0.0
    for layer, where in second.positions.items():
        before = dict(zip(first.positions[layer].tolist(), first.values[layer].tolist(), strict=True))
        for place, value in zip(where.tolist(), second.values[layer].tolist(), strict=True):
            if place in before:
                total += abs(value - before[place])
    return total


def test_the_regulariser_keeps_what_an_earlier_concept_owns(sd1: BaseModel) -> None:
    first = learn(sd1)
    taught = concept("max", "dog", seed=1)
    others = {"l2": 0.0, "drift": 0.0, "interference": 0.0, "steps": 12}
    free = learn(sd1, [first], taught, l1=0.0, **others)
    held = learn(sd1, [first], taught, l1=1e4, **others)
    assert _moved_where_owned(first, held) < 0.5 * _moved_where_owned(first, free)


def _moved_keys_and_values(base: BaseModel, before: Version, after: Version, prompts: Sequence[str]) -> float:
    hidden = base.text_features(prompts, after.tokens).hidden
    was, now = keys_and_values(before.weights, hidden), keys_and_values(after.weights, hidden)
    return sum((now[layer][part] - was[layer][part]).norm().item() for layer in was for part in (0, 1))


def test_drift_holds_keys_and_values_of_general_prompts(sd1: BaseModel) -> None:
    untouched = compose(sd1)
    moved = [
        _moved_keys_and_values(sd1, untouched, compose(sd1, [learn(sd1, drift=drift, steps=12)]), GENERAL)
        for drift in (0.0, 100.0)
    ]
    assert moved[1] < 0.5 * moved[0]


def test_interference_holds_keys_and_values_of_earlier_concepts(sd1: BaseModel) -> None:
    first = learn(sd1, steps=12)
    before, settings = compose(sd1, [first]), {"l1": 0.0, "l2": 0.0, "drift": 0.0, "steps": 12}
    moved = []
    for interference in (0.0, 100.0):
        second = learn(sd1, [first], concept("max", "dog", seed=1), interference=interference, **settings)
        after = compose(sd1, [first, second])
        moved.append(_moved_keys_and_values(sd1, before, after, ["a photo of a <rex> dog"]))
    assert moved[1] < 0.5 * moved[0]


def test_without_calibration_prompts_nothing_is_held_to_be_general(sd1: BaseModel) -> None:
    everything = replace(SETTINGS, selection=SelectionSettings(general_prompts=0))
    densities = run(sd1, compose(sd1), concept(), everything).densities
    assert densities["general"] == 0
    assert densities["concept"] == densities["base"] > 0


def test_any_seed_will_do(sd1: BaseModel) -> None:
    assert learn(sd1, seed=2**60, steps=1).digest != learn(sd1, seed=-1, steps=1).digest


def test_a_base_that_predicts_something_else_is_refused(sd1: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sd1, "prediction_type", "sample")
    with pytest.raises(LearningRefused, match="predicts 'sample'"):
        run(sd1, compose(sd1), concept())


def test_a_value_too_large_for_half_precision_is_refused(sd1: BaseModel) -> None:
    learning = run(sd1, compose(sd1), concept(), replace(SETTINGS, steps=1))
    learning.step()
    with torch.no_grad():
        learning.values[0] = 1e6
    with pytest.raises(LearningRefused, match="diverged"):
        learning.finish()


def test_small_gradients_survive_a_base_in_half_precision(
    sd1: BaseModel, sd1_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made as small as a mean over large pictures makes them."""
    monkeypatch.setattr(learning_module, "diffusion_loss", lambda *given: diffusion_loss(*given) * 2.0**-12)
    gradients: dict[torch.dtype, dict[tuple[str, int], float]] = {}
    for base in (sd1, load_base(sd1_folder, device=sd1.device, dtype=torch.float16)):
        learning = run(base, compose(base), concept())
        monkeypatch.setattr(learning._optimizer, "zero_grad", lambda set_to_none: None)
        learning.step()
        assert learning.values.grad is not None
        spots = [(layer, spot) for layer, where in learning.entries.where.items() for spot in where.tolist()]
        gradients[base.dtype] = dict(zip(spots, learning.values.grad.tolist(), strict=True))
    single, half = gradients[torch.float32], gradients[torch.float16]
    both = sorted(single.keys() & half.keys())  # rounding the weights may choose a few others
    assert len(both) > 0.9 * len(single)
    expected, found = torch.tensor([single[spot] for spot in both]), torch.tensor([half[spot] for spot in both])
    assert (found - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_base_in_half_precision_computes_in_its_own(
    sd1_folder: Path, dtype: torch.dtype, device: torch.device
) -> None:
    base = load_base(sd1_folder, device=device, dtype=dtype)
    mixed, plain = (learn(base, mixed_precision=mixed) for mixed in (True, False))
    assert mixed.size > 0
    assert all(torch.equal(mixed.values[layer], values) for layer, values in plain.values.items())


def test_flips_checkpointing_and_mixed_precision_are_settings(sd1: BaseModel) -> None:
    plain = learn(sd1)
    assert learn(sd1, flip=True).digest != plain.digest
    assert learn(sd1, mixed_precision=True).size == plain.size
    thrifty = learn(sd1, gradient_checkpointing=True)
    for layer, values in thrifty.values.items():
        assert torch.allclose(values.float(), plain.values[layer].float(), atol=1e-2)
    assert not sd1.unet.is_gradient_checkpointing


def test_pieces_of_a_picture_are_learned_with_its_caption_and_mirrored_with_it(sd1: BaseModel) -> None:
    taught = concept()
    with_pieces = run(sd1, compose(sd1), taught, replace(SETTINGS, crops=2, flip=True)).pictures
    assert len(with_pieces.latents) == 2 * 3 * (1 + 2)
    assert with_pieces.captions == taught.captions
    assert with_pieces.caption_of.tolist() == [0, 1, 2, 0, 0, 1, 1, 2, 2] * 2
    assert torch.equal(with_pieces.latents[:3], run(sd1, compose(sd1), taught).pictures.latents)
    assert learn(sd1, crops=2).digest != learn(sd1, crops=2, seed=1).digest


def test_a_learning_without_pieces_says_nothing_of_them_as_before_there_were_any(sd1: BaseModel) -> None:
    without, with_pieces = learn(sd1, crops=0), learn(sd1, crops=1)
    assert "crops" not in without.settings
    assert with_pieces.settings["crops"] == 1
    assert change_settings(SETTINGS, without.settings).crops == 0


def test_learning_lowers_the_loss_on_its_pictures(sd1: BaseModel) -> None:
    learning = run(sd1, compose(sd1), concept(), replace(SETTINGS, steps=60, batch=6, lr_weights=3e-2))
    while not learning.done:
        learning.step()
    assert np.mean(learning.losses[-15:]) < np.mean(learning.losses[:15])


def test_the_values_wait_until_the_token_had_its_share_of_the_steps(sd1: BaseModel) -> None:
    settings = replace(SETTINGS, steps=6, token_first=0.5)
    learning = run(sd1, compose(sd1), concept(), settings)
    before, token = learning.values.detach().clone(), learning.token[0].detach().clone()
    for _ in range(3):
        learning.step()
    assert torch.equal(learning.values, before)
    assert not torch.equal(learning.token[0], token)
    saved = learning.checkpoint()
    while not learning.done:
        learning.step()
    assert not torch.equal(learning.values, before)

    resumed = LearningRun(sd1, compose(sd1), concept(), settings, calibration=GENERAL, resume=saved)
    while not resumed.done:
        resumed.step()
    assert resumed.finish().digest == learning.finish().digest


def test_values_that_join_later_have_a_warm_up_of_their_own(sd1: BaseModel) -> None:
    settings = replace(SETTINGS, steps=8, token_first=0.5, warmup_steps=4, cooldown=0.0)
    learning = run(sd1, compose(sd1), concept(), settings)
    rates = []
    while not learning.done:
        learning.step()
        rates.append([group["lr"] for group in learning._optimizer.param_groups])
    shares = [(values / settings.lr_weights, token / settings.lr_token) for values, token in rates]
    assert shares[4:] == [(0.25, 1.0), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0)]


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        {"steps": 0},
        {"batch": 0},
        {"lr_token": -1.0},
        {"l1": -1.0},
        {"drift": -1.0},
        {"interference": -1.0},
        {"cooldown": 1.5},
        {"time_power": 0.0},
        {"wide_guided": 0.0},
        {"wide_guided": 1.1},
        {"token_first": 1.0},
    ):
        with pytest.raises(ValueError, match=r"step|negative|share|power"):
            replace(SETTINGS, **wrong)


@pytest.mark.parametrize("reach", ["everywhere", "token"])
@pytest.mark.parametrize("cut", [(1,), (0, 1, 2)])
def test_a_caption_that_is_cut_before_its_token_is_refused(sd1: BaseModel, cut: Sequence[int], reach: Reach) -> None:
    """A step that drew such captions alone would have nothing to learn."""
    taught = concept()
    captions = ["a blue house " * 40 * (place in cut) + caption for place, caption in enumerate(taught.captions)]
    with pytest.raises(LearningRefused, match=r'cut before it comes to <rex>; write a shorter one than "a blue house '):
        run(sd1, compose(sd1), replace(taught, captions=tuple(captions)), replace(SETTINGS, reach=reach))


def test_what_cannot_be_learned_is_refused_in_a_sentence(sd1: BaseModel) -> None:
    picture = (Image.new("RGB", (8, 8)),)
    with pytest.raises(LearningRefused, match="no picture"):
        Concept("rex", "dog", (), ())
    with pytest.raises(LearningRefused, match="as many captions"):
        Concept("rex", "dog", picture, ())
    with pytest.raises(LearningRefused, match="does not name"):
        Concept("rex", "dog", picture, ("a dog",))
    with pytest.raises(LearningRefused, match="letters"):
        Concept("re x", "dog", picture, ("a <re x> dog",))
    learned = compose(sd1, [learn(sd1)])
    with pytest.raises(LearningRefused, match="already knows"):
        run(sd1, learned, concept())
    with pytest.raises(LearningRefused, match="calibration prompts"):
        LearningRun(sd1, compose(sd1), concept(), SETTINGS, calibration=GENERAL[:1])
    unfinished = run(sd1, compose(sd1), concept())
    with pytest.raises(LearningRefused, match="0 of 5"):
        unfinished.finish()
