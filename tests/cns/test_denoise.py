"""The K/V path equals the stock pipeline with the weights written in; a mixed batch equals each picture made alone."""

import copy
import json
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UniPCMultistepScheduler,
)
from torch import Tensor

from cns import denoise
from cns.base_model import BaseModel, load_base
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, GenerationRun, RequestRefused, denoise_step, generate, to_pictures
from cns.errors import CnsError, UnknownToken
from cns.export import export_diffusers
from cns.kv import handed_attention, keys_and_values, predict
from cns.regions import Region
from cns.samplers import SAMPLERS, UnknownSampler
from storybook import MODEL_FOLDER
from tests.cns.test_compose import make_delta

STEPS = 4
STOCK = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpm++2m": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}


def _version(base: BaseModel) -> Version:
    return compose(base, [make_delta(base, "rex", 1), make_delta(base, "mug", 2)])


def _unet_with_weights_written(base: BaseModel, version: Version) -> torch.nn.Module:
    unet = copy.deepcopy(base.unet)
    modules = dict(unet.named_modules())
    with torch.no_grad():
        for layer, weight in version.weights.items():
            modules[layer].weight.copy_(weight)
    return unet


def _stock_picture(folder: Path, base: BaseModel, version: Version, request: GenerationRequest) -> Tensor:
    """The stock pipeline with the version's weights in a copy of the UNet; tokens come in as prompt embeddings."""
    kind = StableDiffusionXLPipeline if base.kind == "sdxl" else StableDiffusionPipeline
    extra = {"add_watermarker": False} if base.kind == "sdxl" else {"safety_checker": None}
    pipeline = kind.from_pretrained(folder, dtype=torch.float32, low_cpu_mem_usage=False, **extra)
    pipeline.set_progress_bar_config(disable=True)
    assert getattr(pipeline.config, "force_zeros_for_empty_prompt", False) == base.zeros_for_no_words
    pipeline.unet = _unet_with_weights_written(base, version)
    kind = STOCK[request.sampler]
    if type(pipeline.scheduler) is not kind:
        of_latents = {"clip_sample": False} if kind is DDIMScheduler else {}
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **of_latents)
    features = base.text_features([request.prompt, request.negative_prompt], version.tokens)
    told = {"prompt_embeds": features.hidden[:1]}
    if features.pooled is not None:
        told["pooled_prompt_embeds"] = features.pooled[:1]
    if request.negative_prompt:
        told["negative_prompt_embeds"] = features.hidden[1:]
        if features.pooled is not None:
            told["negative_pooled_prompt_embeds"] = features.pooled[1:]
    made = pipeline(
        **told,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        generator=torch.Generator().manual_seed(request.seed),
        height=request.height_px or base.native_px,
        width=request.width_px or base.native_px,
        output_type="pt",
    )
    return made.images[0].float()


@pytest.mark.parametrize("unwanted", ["blurred", ""])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("shape", ["sd1", "sd2", "sdxl"])
def test_a_picture_equals_the_stock_pipelines(
    shape: str, sampler: str, unwanted: str, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    version = _version(base)
    asked = GenerationRequest(
        "a photo of <rex> cat next to a <mug>", unwanted, seed=3, steps=STEPS, guidance=4.0, sampler=sampler
    )
    ours = generate(base, version, [asked])[0]
    stock = _stock_picture(request.getfixturevalue(f"{shape}_folder"), base, version, asked)
    assert ours.isfinite().all()
    assert (ours - stock).abs().max().item() <= 1e-4


def test_a_base_that_was_trained_with_the_empty_prompt_is_led_away_from_that(sdxl_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sdxl_folder, tmp_path / "base")
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "force_zeros_for_empty_prompt": False}))
    base, asked = load_base(folder), GenerationRequest("a <rex> cat", seed=5, steps=STEPS, guidance=4.0)
    ours = generate(base, _version(base), [asked])[0]
    assert (ours - _stock_picture(folder, base, _version(base), asked)).abs().max().item() <= 1e-4
    with_zeros = load_base(sdxl_folder)
    assert base.id == with_zeros.id
    assert not load_base(export_diffusers(base, compose(base), tmp_path / "out")).zeros_for_no_words
    assert not torch.allclose(ours, generate(with_zeros, _version(with_zeros), [asked])[0], atol=1e-3)


def test_a_schedule_that_says_nothing_of_latents_is_read_as_the_stock_pipeline_reads_it(
    sd1_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "earlier")
    written = folder / "scheduler" / "scheduler_config.json"
    facts = json.loads(written.read_text())
    written.write_text(json.dumps({k: v for k, v in facts.items() if k not in ("clip_sample", "steps_offset")}))
    base, asked = load_base(folder), GenerationRequest("a <rex> cat", seed=5, steps=STEPS, guidance=4.0)
    ours = generate(base, _version(base), [asked])[0]
    with pytest.warns(FutureWarning, match="clip_sample|steps_offset"):
        stock = _stock_picture(folder, base, _version(base), asked)
    assert (ours - stock).abs().max().item() <= 1e-4


def test_without_guidance_a_picture_still_equals_the_stock_pipelines(sd1: BaseModel, sd1_folder: Path) -> None:
    asked = GenerationRequest("a <rex> cat", seed=5, steps=STEPS, guidance=1.0)
    ours = generate(sd1, _version(sd1), [asked])[0]
    assert (ours - _stock_picture(sd1_folder, sd1, _version(sd1), asked)).abs().max().item() <= 1e-4


@pytest.mark.parametrize("shape", ["sd1", "sd2", "sdxl"])
def test_a_mixed_batch_gives_each_picture_as_made_alone(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    versions = [compose(base), _version(base), compose(base, [make_delta(base, "mug", 9)])]
    asked = [
        (versions[0], GenerationRequest("a cat", seed=1, steps=3, sampler="ddim")),
        (versions[1], GenerationRequest("a <rex> cat", "dark", seed=2, steps=5, guidance=7.0, sampler="euler")),
        (versions[2], GenerationRequest("a <mug>", seed=3, steps=4, guidance=1.0, sampler="dpm++2m")),
        (versions[1], GenerationRequest("a <mug> in the snow", seed=4, steps=2, sampler="unipc")),
    ]
    alone = [generate(base, version, [one])[0] for version, one in asked]
    runs = [GenerationRun(base, version, one) for version, one in asked]
    with handed_attention(base.unet):
        while waiting := [run for run in runs if not run.done]:
            denoise_step(base, waiting)
    together = base.decode_latents(torch.cat([run.latents for run in runs]))
    for picture, expected in zip(together, alone, strict=True):
        assert (picture - expected).abs().max().item() <= 1e-4


def test_the_same_request_gives_the_same_bytes(sd1: BaseModel) -> None:
    asked = [GenerationRequest("a cat", seed=seed, steps=3) for seed in range(3)]
    first, second = (generate(sd1, _version(sd1), asked) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_pictures_of_two_sizes_are_made_in_two_batches_and_come_back_in_order(sd1: BaseModel) -> None:
    side = sd1.native_px
    sizes = [side, side * 2, side]
    asked = [GenerationRequest("a cat", seed=1, steps=2, width_px=s, height_px=s) for s in sizes]
    seen: list[tuple[int, int]] = []
    made = generate(sd1, compose(sd1), asked, on_step=lambda done, total: seen.append((done, total)))
    assert [picture.shape[-1] for picture in made] == sizes
    assert torch.equal(made[0], made[2])
    assert seen[-1] == (6, 6)
    assert to_pictures(made)[1].size == (side * 2, side * 2)


def test_no_more_pictures_are_decoded_at_once_than_memory_is_likely_to_hold(
    sd1: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [GenerationRequest("a cat", seed=seed, steps=1) for seed in range(5)]
    at_once = generate(sd1, compose(sd1), asked)
    decoded: list[int] = []

    def decode(latents: Tensor) -> Tensor:
        decoded.append(len(latents))
        return original(latents)

    original = sd1.decode_latents
    monkeypatch.setattr(sd1, "decode_latents", decode)
    for most_px, parts in ((2 * sd1.native_px**2, [2, 2, 1]), (1, [1] * 5)):
        monkeypatch.setattr(denoise, "DECODED_AT_ONCE_PX", most_px)
        decoded.clear()
        in_parts = generate(sd1, compose(sd1), asked)
        assert decoded == parts
        assert (torch.stack(in_parts) - torch.stack(at_once)).abs().max() <= 1e-5


def test_pictures_of_the_shipped_base_are_decoded_all_at_once() -> None:
    """What it draws was once decoded so, and parts would move the last bits."""
    side = json.loads((MODEL_FOLDER / "unet" / "config.json").read_text())["sample_size"] * 8
    assert 16 * (2 * side) ** 2 <= denoise.DECODED_AT_ONCE_PX


def test_what_cannot_be_made_is_refused_in_a_sentence(sd1: BaseModel) -> None:
    with pytest.raises(RequestRefused, match="multiples"):
        generate(sd1, compose(sd1), [GenerationRequest("a cat", width_px=17)])
    with pytest.raises(RequestRefused, match="1 to 500"):
        generate(sd1, compose(sd1), [GenerationRequest("a cat", steps=0)])
    for seed in (-1, 2**64):
        with pytest.raises(RequestRefused, match="The seed of a picture"):
            generate(sd1, compose(sd1), [GenerationRequest("a cat", seed=seed)])
    for guidance in (float("inf"), float("nan")):
        with pytest.raises(RequestRefused, match="Guidance is a number such as 5"):
            generate(sd1, compose(sd1), [GenerationRequest("a cat", guidance=guidance)])
    with pytest.raises(UnknownSampler, match="ddim"):
        generate(sd1, compose(sd1), [GenerationRequest("a cat", sampler="magic")])


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (GenerationRequest("a cat", seed=-1), RequestRefused),
        (GenerationRequest("a cat", width_px=17), RequestRefused),
        (GenerationRequest("a cat", sampler="magic"), UnknownSampler),
        (GenerationRequest("a <max> cat"), UnknownToken),
        (GenerationRequest("a cat", negative_prompt="<max>"), UnknownToken),
        (GenerationRequest("a cat", regions=(Region("<max>", 0, 0, 1, 1),)), UnknownToken),
        (GenerationRequest("a cat \udc80"), RequestRefused),
        (GenerationRequest("a cat", negative_prompt="\ud800"), RequestRefused),
        (GenerationRequest("a cat", regions=(Region("\udc80", 0, 0, 1, 1),)), RequestRefused),
    ],
)
def test_nothing_is_begun_while_one_of_many_cannot_be_made(
    bad: GenerationRequest, error: type[CnsError], sd1: BaseModel
) -> None:
    begun: list[int] = []
    asked = [*(GenerationRequest("a cat", seed=seed, steps=1) for seed in range(2)), bad]
    with pytest.raises(error):
        generate(sd1, compose(sd1), asked, batch=1, on_step=lambda done, _: begun.append(done))
    assert begun == []


def test_without_guidance_nobody_reads_what_shall_not_be_there(sd1: BaseModel) -> None:
    asked = GenerationRequest("a cat", negative_prompt="<max>", guidance=1.0, steps=1)
    assert len(generate(sd1, compose(sd1), [asked])) == 1


def test_the_unet_is_left_as_it_was_also_after_an_error(sd1: BaseModel) -> None:
    before = {name: type(processor) for name, processor in sd1.unet.attn_processors.items()}
    checksum = sd1.checksum()
    with pytest.raises(RuntimeError, match="on purpose"), handed_attention(sd1.unet):
        raise RuntimeError("on purpose")
    generate(sd1, _version(sd1), [GenerationRequest("a cat", steps=1)])
    assert {name: type(processor) for name, processor in sd1.unet.attn_processors.items()} == before
    assert sd1.checksum() == checksum


def test_gradients_reach_the_weights_that_made_k_and_v_and_nothing_in_the_unet(sd1: BaseModel) -> None:
    weights = {layer: weight.clone().requires_grad_() for layer, weight in sd1.kv_weights.items()}
    kv = keys_and_values(weights, sd1.text_features(["a cat"]).hidden)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with handed_attention(sd1.unet):
        predict(sd1, latents.to(sd1.device), torch.tensor([500], device=sd1.device), kv).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights.values())
    assert all(parameter.grad is None for parameter in sd1.unet.parameters())


def test_pixels_become_the_nearest_of_256_tones_and_what_is_no_number_black() -> None:
    tones = torch.arange(256).float().view(1, 16, 16).expand(3, -1, -1) / 255
    picture = np.asarray(to_pictures([tones + 0.4 / 255])[0])
    assert (picture == np.arange(256).reshape(16, 16, 1)).all()
    odd = torch.tensor([-1.0, 2.0, float("nan"), 1.0]).view(1, 2, 2).expand(3, -1, -1)
    assert np.asarray(to_pictures([odd])[0])[..., 0].flatten().tolist() == [0, 255, 0, 255]


@pytest.mark.skipif(sys.platform != "linux", reason="Counts threads as Linux lists them.")
def test_whoever_asks_for_a_picture_gets_no_helpers_of_its_own() -> None:
    counts: list[int] = []

    def count_threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    def ask() -> None:
        before = count_threads()
        to_pictures([torch.rand(3, 512, 512, generator=torch.Generator().manual_seed(0))])
        counts.append(count_threads() - before)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join()
    finally:
        torch.set_num_threads(threads)
    assert counts == [0]
