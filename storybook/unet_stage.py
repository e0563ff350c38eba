"""Stage four: the denoiser. A UNet with cross-attention at both levels, v-prediction, zero terminal signal-to-noise
ratio.

Latents come from a ring of scenes that is drawn and encoded ahead and renewed bit by bit, so that each scene is used
a few times and none for long.
"""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from cns.text import encode, tokenize
from storybook.muon import muon_for
from storybook.names import Namer
from storybook.pipeline import generate_pictures, load_pipeline
from storybook.pools import _draw_chunk, draw_pool, to_pixels
from storybook.sheets import contact_sheet
from storybook.tokenizer import MAX_TOKENS
from storybook.training import (
    Clock,
    Log,
    MovingAverage,
    autocast,
    begin,
    module_state,
    record_stage,
    save_half,
    save_state,
)
from storybook.vae_stage import LATENT_CHANNELS, LATENT_SIZE, encode_mean
from storybook.world import NOUNS, Scene, caption, random_scene

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "steps_offset": 1,  # unused with trailing spacing, but pipelines ask for it
    "clip_sample": False,
}
PIPELINE = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDPMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
EMPTY_CAPTIONS = 0.1  # share of rows trained without a caption, for classifier-free guidance
RENEWED = 512  # scenes drawn at a time to renew the ring
USES = 6  # how often a scene is used before it is replaced
SAMPLES = 24  # pictures of a sheet
PLAIN_LOOK, RICH = 0.25, 0.8  # of its scenes, as in `random_thing`: names are read only where there is much to say
TWO = 0.4  # share of scenes with two things, as the shipped denoiser was trained with


def build_unet(text_width: int, channels: tuple[int, ...] = (128, 192)) -> UNet2DConditionModel:
    """Eleven million parameters at the default width; heads of 32 numbers."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=tuple(width // 32 for width in channels),
        norm_num_groups=16,
    )


def peculiar_scene(rng: np.random.Generator, plain_look: float, two: float) -> list[Scene]:
    """One random scene, as a group of one. plain_look: share of its things that words alone describe; two: share of
    scenes with two things.
    """
    return [random_scene(rng, two=two, plain_look=plain_look, rich=RICH)]


class LatentRing:
    """Scenes with their latents, renewed in the background: drawing happens in another process, encoding here."""

    def __init__(self, vae: AutoencoderKL, size: int, seed: int, device: torch.device, plain_look: float, two: float):
        self.vae, self.device, self.seed, self.chunk = vae, device, seed, 0
        self.group = partial(peculiar_scene, plain_look=plain_look, two=two)
        self.scenes, pictures = draw_pool(self.group, size, seed)
        self.latents = torch.cat([self._encode(pictures[start : start + 256]) for start in range(0, size, 256)])
        self.next_row, self.uses = 0, 0
        self.executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self.drawn = self._ask()

    def _ask(self) -> "Future[tuple[list[Scene], np.ndarray]]":
        self.chunk += 1
        return self.executor.submit(_draw_chunk, self.group, self.seed + 1, self.chunk, RENEWED)

    @torch.no_grad()
    def _encode(self, pictures: Tensor) -> Tensor:
        with autocast(self.device):
            return encode_mean(self.vae, to_pixels(pictures, self.device)).to(torch.bfloat16).cpu()

    def rows(self, generator: torch.Generator, count: int) -> tuple[list[Scene], Tensor]:
        """`count` random scenes and their latents (count, 32, 8, 8)."""
        chosen = torch.randint(len(self.scenes), (count,), generator=generator)
        self.uses += count
        if self.uses >= USES * RENEWED:
            self._renew()
        return [self.scenes[row] for row in chosen.tolist()], self.latents[chosen]

    def _renew(self) -> None:
        self.uses = 0
        scenes, pictures = self.drawn.result()
        self.drawn = self._ask()
        where = [(self.next_row + i) % len(self.scenes) for i in range(len(scenes))]
        self.latents[where] = self._encode(torch.from_numpy(pictures))
        for row, scene in zip(where, scenes, strict=True):
            self.scenes[row] = scene
        self.next_row = (where[-1] + 1) % len(self.scenes)

    def close(self) -> None:
        self.executor.shutdown(cancel_futures=True)


def run(
    folder: Path,
    checkpoints: Path,
    minutes: float,
    device: torch.device,
    log: Log,
    pool: int,
    *,
    rate: float = 2e-3,
    plain_look: float = PLAIN_LOOK,
    two: float = TWO,
    batch: int = 96,
    compiled: bool = True,
) -> None:
    """Train for `minutes`, log, and write `folder`/unet and `folder`/scheduler. Goes on from its checkpoint or from
    shipped weights.
    """
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).to(device).eval()
    vae = AutoencoderKL.from_pretrained(folder / "vae", low_cpu_mem_usage=False).float().to(device).eval()
    namer = Namer({noun: _embedding(tokenizer, text_encoder, noun) for noun in NOUNS})
    torch.manual_seed(4)
    unet = build_unet(text_encoder.config.hidden_size).to(device, memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # the CPU's fused attention is slow backwards at 64 positions
    optimizer = muon_for(unet, rate, outer=("conv_in", "conv_out"))
    average = MovingAverage(unet, 0.998)  # the last five hundred steps or so, within the time that the rate falls
    state_file = checkpoints / "unet.safetensors"
    counts = begin(state_file, folder / "unet" / "diffusion_pytorch_model.safetensors", unet, optimizer, average)
    step, samples = counts["steps"], counts["samples"]
    ring = LatentRing(vae, pool, seed=4000 + step, device=device, plain_look=plain_look, two=two)
    log(f"unet: {pool} scenes encoded, latent deviation {ring.latents.float().std():.3f}, going on from step {step}")
    scheduler = DDPMScheduler(**SCHEDULER)
    signal = scheduler.alphas_cumprod.sqrt().to(device)
    noise_level = (1 - scheduler.alphas_cumprod).sqrt().to(device)
    forward = torch.compile(unet) if compiled else unet
    clock = Clock(minutes)
    generator = torch.Generator().manual_seed(5 + step)
    rng = np.random.default_rng((5, step))
    losses: list[float] = []
    started = step
    recorded = 0.0  # minutes of this run that the record holds already

    def keep() -> None:
        """Checkpoint, weights and record together: a run that is stopped later leaves nothing that disagrees."""
        nonlocal recorded
        save_state(state_file, module_state(unet, optimizer, average), {"steps": step, "samples": samples})
        snapshot(unet, average, folder)
        minutes, recorded = clock.minutes - recorded, clock.minutes
        record_stage(folder, "unet", steps=step, samples=samples, minutes=minutes, device=device.type)
        draw_samples(folder, checkpoints / f"unet-{step:06}.png")

    while not clock.over:
        scenes, rows = ring.rows(generator, batch)
        latents = rows.to(device).float()
        texts, names = write_captions(scenes, namer, rng)
        # High noise more often: words decide there, and a picture that has begun to show needs none.
        times = (1000 * torch.rand(batch, generator=generator).sqrt()).long().to(device)
        noise = torch.randn(latents.shape, generator=generator).to(device)
        a, s = signal[times].view(-1, 1, 1, 1), noise_level[times].view(-1, 1, 1, 1)
        noisy = (a * latents + s * noise).contiguous(memory_format=torch.channels_last)
        target = a * noise - s * latents
        for group in optimizer.param_groups:
            group["lr"] = rate * clock.rate(step - started, 100)
        with autocast(device):
            with torch.no_grad():
                prompts = tokenize(tokenizer, texts, MAX_TOKENS)
                text = encode(text_encoder, prompts, names, penultimate=False)[0]
            made = forward(noisy, times, text, return_dict=False)[0]
        loss = (made.float() - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(unet)
        step, samples = step + 1, samples + batch
        losses.append(loss.item())
        if step % 50 == 0:
            log(f"unet step {step} samples {samples} share {clock.share:.3f} loss {sum(losses) / len(losses):.4f}")
            losses.clear()
        if step % 1000 == 0:
            keep()
    ring.close()
    keep()
    log(f"unet done: step {step} samples {samples}")


def write_captions(
    scenes: Sequence[Scene], namer: Namer, rng: np.random.Generator
) -> tuple[list[str], dict[str, Tensor]]:
    """A caption for each scene, now and then empty, and the vectors of the <name>s in them."""
    texts: list[str] = []
    names: dict[str, Tensor] = {}
    for row, scene in enumerate(scenes):
        if rng.random() < EMPTY_CAPTIONS:
            texts.append("")
            continue
        called: list[str | None] = []
        for place, name in enumerate(namer.call_things(scene, rng)):
            called.append(None if name is None else f"<{row}-{place}>")
            if name is not None:
                names[f"<{row}-{place}>"] = name
        texts.append(caption(scene, rng, names=called))
    return texts, names


def _embedding(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, word: str) -> Tensor:
    """The embedding (width,) of a word that is one piece."""
    made: Tensor = text_encoder.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(f"{word}</w>")]
    return made


def snapshot(unet: UNet2DConditionModel, average: MovingAverage, folder: Path) -> None:
    """Write the averaged weights in half precision beside the scheduler; the weights in training stay as they are."""
    averaged = UNet2DConditionModel.from_config(unet.config)
    average.write_into(averaged)
    save_half(averaged, folder / "unet")
    DDPMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(PIPELINE, indent=1) + "\n")


def draw_samples(folder: Path, sheet: Path) -> None:
    """Draw the same prompts from the same seeds by the weights in `folder`, to be held against earlier sheets."""
    rng = np.random.default_rng(20)
    texts = [caption(random_scene(rng, plain_look=1.0), rng, whole=True) for _ in range(SAMPLES)]
    contact_sheet(generate_pictures(load_pipeline(folder), texts, seed=20), columns=8, zoom=3).save(sheet)
