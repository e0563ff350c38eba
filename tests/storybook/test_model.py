"""The base that ships: whole, small, loadable by the stock pipeline, and equal to it when K and V are handed in."""

import json

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from torch.nn.functional import avg_pool2d

from cns.base_model import BaseModel, load_base
from cns.compose import compose
from cns.denoise import GenerationRequest, generate
from cns.judge import load_judge
from cns.phrases import load_calibration_prompts, load_generic_prompts, load_phrase_bank
from cns.preview import fit_preview
from storybook import MODEL_FOLDER, SAMPLES_FOLDER
from storybook.clip_stage import build_clip
from storybook.evaluate import BARS, describe_training
from storybook.individuals import SAMPLES, find_individual
from storybook.likeness import find_likeness
from storybook.unet_stage import build_unet
from storybook.vae_stage import build_vae
from storybook.world import BACKGROUNDS, draw, random_scene
from tests.cns.test_compose import make_delta


@pytest.fixture(scope="module")
def base(device: torch.device) -> BaseModel:
    return load_base(MODEL_FOLDER, device=device)


def test_all_weights_together_are_under_40_megabytes_and_in_half_precision() -> None:
    files = list(MODEL_FOLDER.rglob("*.safetensors"))
    assert len(files) == 5
    assert sum(file.stat().st_size for file in files) < 40e6


def test_the_shipped_weights_fit_the_code_that_trains_them(base: BaseModel) -> None:
    unet = build_unet(base.text_encoders[0].config.hidden_size)
    assert {n: p.shape for n, p in unet.named_parameters()} == {n: p.shape for n, p in base.unet.named_parameters()}
    vae = build_vae()
    assert {n: p.shape for n, p in vae.named_parameters()} == {n: p.shape for n, p in base.vae.named_parameters()}
    assert build_clip(base.tokenizers[0]).config.text_config.hidden_size == base.text_encoders[0].config.hidden_size


def test_the_clip_s_text_tower_is_the_text_encoder(base: BaseModel) -> None:
    tower = dict(load_judge(MODEL_FOLDER / "clip").model.text_model.named_parameters())
    for name, parameter in base.text_encoders[0].named_parameters():
        assert torch.equal(parameter, tower[name])


def test_a_look_at_latents_has_the_colours_of_the_decoded_picture(base: BaseModel) -> None:
    """It leaves less than a fifth of what differs between their positions."""
    rng = np.random.default_rng(5)
    pictures = torch.stack([torch.tensor(draw(random_scene(rng))).permute(2, 0, 1) / 127.5 - 1 for _ in range(6)])
    latents = base.encode_images(pictures)
    wanted = avg_pool2d(base.decode_latents(latents), base.vae_scale)
    seen = avg_pool2d(fit_preview(base)(latents), base.vae_scale)
    spread = (wanted - wanted.mean(dim=(0, 2, 3), keepdim=True)).square().sum()
    assert (seen - wanted).square().sum() < 0.2 * spread


def test_a_picture_of_two_versions_equals_the_stock_pipelines(base: BaseModel) -> None:
    version = compose(base, [make_delta(base, "rex", 1, share=0.02)])
    asked = GenerationRequest("a photo of a <rex> cat on the grass", seed=4, steps=6, guidance=4.0)
    ours = generate(base, version, [asked])[0]
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL_FOLDER, dtype=torch.float32, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    modules = dict(pipeline.unet.named_modules())
    with torch.no_grad():
        for layer, weight in version.weights.items():
            modules[layer].weight.copy_(weight)
    hidden = base.text_features([asked.prompt, ""], version.tokens).hidden
    stock = pipeline(
        prompt_embeds=hidden[:1],
        negative_prompt_embeds=hidden[1:],
        num_inference_steps=asked.steps,
        guidance_scale=asked.guidance,
        generator=torch.Generator().manual_seed(asked.seed),
        output_type="pt",
    ).images[0]
    assert (ours - stock).abs().max().item() <= 1e-4


def test_the_base_brings_lists_in_the_words_of_its_world() -> None:
    assert len(load_calibration_prompts(MODEL_FOLDER)) >= 40
    assert len(load_generic_prompts(MODEL_FOLDER)) == 20
    assert load_phrase_bank(MODEL_FOLDER) == BACKGROUNDS
    assert load_generic_prompts(MODEL_FOLDER) != load_generic_prompts()


def test_the_model_card_s_figures_are_those_that_were_measured() -> None:
    card = (MODEL_FOLDER / "README.md").read_text()
    measured = json.loads((MODEL_FOLDER / "evaluation.json").read_text())
    assert {bar["name"] for bar in measured["bars"]} == set(BARS)
    for bar in measured["bars"]:
        assert f"{bar['value']:.3f}" in card
    assert describe_training(MODEL_FOLDER) in card


def test_the_judge_of_individuals_knows_a_sample_from_another() -> None:
    likeness = find_likeness(MODEL_FOLDER)
    assert likeness is not None
    pictures = {name: [Image.open(file) for file in sorted((SAMPLES_FOLDER / name).glob("*.png"))] for name in SAMPLES}
    features = {name: likeness.image_features(shown) for name, shown in pictures.items()}
    for name, own in features.items():
        assert len(own) == 5
        for other in set(SAMPLES) - {name}:
            assert (own @ own.T).mean() > (own @ features[other].T).mean() + 0.3
        noun = json.loads((SAMPLES_FOLDER / name / "concept.json").read_text())["noun"]
        assert noun == find_individual(name).noun
