"""Stage two: a small CLIP. Its text tower, frozen, becomes the text encoder; whole, it serves captions and metrics.

The text tower comes first (`text_tower`) and is then locked; the vision tower is trained against it by CLIP's
contrastive loss over groups of near-identical scenes (`groups`), with read-outs on its embedding that must name what
the labels name. The read-outs are thrown away afterwards.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTextModel, CLIPTokenizer

from storybook.attributes import HEADS, UNKNOWN, label_scenes
from storybook.groups import GROUP, contrast_group
from storybook.muon import muon_for
from storybook.pools import draw_pool, to_pixels
from storybook.text_tower import BATCH as TEXT_BATCH
from storybook.text_tower import train_text_tower
from storybook.training import (
    Clock,
    Log,
    MovingAverage,
    autocast,
    load_state,
    module_state,
    record_stage,
    restore_module,
    save_state,
)
from storybook.world import NOUNS, PICTURE_PX, caption, draw, random_scene

GROUPS_IN_BATCH = 12
RATE = 1e-3
TEXT_SHARE = 0.25  # of the minutes, for the text tower
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Three million parameters: a text tower of 3 layers and a vision tower of 4, both 192 wide."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": 128,
    }
    vision = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "image_size": PICTURE_PX,
        "patch_size": 8,
        "projection_dim": 128,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    config._attn_implementation = "eager"  # the CPU's fused attention is slow backwards at 64 tokens
    return CLIPModel(config)


class VisionWithReadouts(nn.Module):
    """What is trained against the locked text tower: the vision tower, the temperature, and one read-out per
    attribute.
    """

    def __init__(self, clip: CLIPModel):
        super().__init__()
        self.vision, self.projection, self.scale = clip.vision_model, clip.visual_projection, clip.logit_scale
        width = clip.config.projection_dim
        self.heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in HEADS.items()})

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (n, 3, 64, 64) -> embeddings (n, 128), not normalised."""
        return self.projection(self.vision(pixel_values=pixels).pooler_output)


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """The symmetric cross-entropy of CLIP (Radford et al. 2021) over the batch."""
    logits = scale.exp().clamp(max=50) * normalize(image.float()) @ normalize(text.float()).T  # (n, n)
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def readout_loss(heads: nn.ModuleDict, features: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of all read-outs; a column with no label in this batch counts nothing."""
    losses = []
    for column, head in enumerate(heads.values()):
        known = labels[:, column] != UNKNOWN
        if known.any():
            losses.append(cross_entropy(head(features).float()[known], labels[known, column]))
    return torch.stack(losses).mean()


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """(n, 32) int64, padded to the full length as the pipeline pads."""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


@torch.no_grad()
def noun_accuracy(clip: CLIPModel, tokenizer: CLIPTokenizer, count: int = 480, seed: int = 99) -> float:
    """Share of fresh single-thing renders whose own noun wins among all nouns ("a photo of a <noun>")."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, two=0.0) for _ in range(count)]
    device = clip.device
    pixels = to_pixels(torch.from_numpy(np.stack([draw(scene) for scene in scenes])), device)
    image = normalize(clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output).float())
    tokens = tokenize(tokenizer, [f"a photo of a {noun}" for noun in NOUNS]).to(device)
    text = normalize(clip.text_projection(clip.text_model(input_ids=tokens).pooler_output).float())
    chosen = (image @ text.T).argmax(1).tolist()
    return sum(NOUNS[i] == scene.placed[0].thing.noun for i, scene in zip(chosen, scenes, strict=True)) / count


@torch.no_grad()
def retrieval_accuracy(clip: CLIPModel, tokenizer: CLIPTokenizer, count: int = 256, seed: int = 98) -> float:
    """Share of `count` fresh scenes whose own caption is the nearest of all `count` captions."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(count)]
    pixels = to_pixels(torch.from_numpy(np.stack([draw(scene) for scene in scenes])), clip.device)
    texts = [caption(scene, rng) for scene in scenes]
    image = normalize(clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output).float())
    tokens = tokenize(tokenizer, texts).to(clip.device)
    text = normalize(clip.text_projection(clip.text_model(input_ids=tokens).pooler_output).float())
    best = (image @ text.T).argmax(1).tolist()
    return sum(texts[i] == texts[own] for own, i in enumerate(best)) / count


def run(folder: Path, checkpoints: Path, minutes: float, device: torch.device, log: Log, pool_groups: int) -> None:
    """Train, log, and write `folder`/clip, and `folder`/text_encoder if there was none, in half precision.

    A text encoder that is already there is never touched: the denoiser has learned to read it.
    """
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(1)
    if (folder / "clip").exists():
        clip = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32, attn_implementation="eager").to(device)
    else:
        clip = build_clip(tokenizer).to(device)
        steps = train_text_tower(clip, tokenizer, minutes * TEXT_SHARE, device, log)
        record_stage(
            folder,
            "text tower",
            steps=steps,
            samples=steps * TEXT_BATCH,
            minutes=minutes * TEXT_SHARE,
            device=device.type,
        )
        export(clip, tokenizer, folder)
        save_text_encoder(clip, folder)
        clip = clip.float().to(device)
        minutes *= 1 - TEXT_SHARE
    clip.requires_grad_(False)
    model = VisionWithReadouts(clip)
    model.requires_grad_(True)
    optimizer = muon_for(model, RATE, outer=("vision.embeddings", "projection", "heads"))
    average = MovingAverage(model, 0.998)
    state_file = checkpoints / "clip.safetensors"
    step = 0
    if state_file.exists():
        tensors, facts = load_state(state_file)
        restore_module(model, optimizer, average, tensors)
        step = int(str(facts["steps"]))
    scenes, pictures = draw_pool(contrast_group, pool_groups, seed=1000 + step)
    labels = label_scenes(scenes)
    log(f"clip: {len(scenes)} scenes drawn, going on from step {step}")
    clock = Clock(minutes)
    rng = np.random.default_rng((7, step))
    started = step
    while not clock.over:
        chosen = rng.choice(pool_groups, GROUPS_IN_BATCH, replace=False)
        rows = (torch.from_numpy(chosen)[:, None] * GROUP + torch.arange(GROUP)).flatten()
        tokens = tokenize(tokenizer, [caption(scenes[row], rng) for row in rows.tolist()]).to(device)
        for group in optimizer.param_groups:
            group["lr"] = RATE * clock.rate(step - started, 100)
        with autocast(device):
            with torch.no_grad():
                text = clip.text_projection(clip.text_model(input_ids=tokens).pooler_output)
            image = model(to_pixels(pictures[rows], device))
            contrast = contrastive_loss(image, text, model.scale)
            named = readout_loss(model.heads, image, labels[rows].to(device))
        (contrast + 2 * named).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(model)
        step += 1
        if step % 100 == 0:
            log(f"clip step {step} share {clock.share:.2f} contrast {contrast.item():.3f} named {named.item():.3f}")
        if step % 500 == 0:
            log(f"clip step {step} noun accuracy {noun_accuracy(clip, tokenizer):.3f}")
    save_state(
        state_file, module_state(model, optimizer, average), {"steps": step, "samples": step * GROUP * GROUPS_IN_BATCH}
    )
    record_stage(
        folder, "clip", steps=step, samples=step * GROUP * GROUPS_IN_BATCH, minutes=clock.minutes, device=device.type
    )
    average.write_into(model)
    log(
        f"clip done: step {step} noun accuracy {noun_accuracy(clip, tokenizer):.3f}"
        f" retrieval of 256 {retrieval_accuracy(clip, tokenizer):.3f}"
    )
    export(clip, tokenizer, folder)


def export(clip: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the CLIP with its tokenizer and its processor."""
    clip = clip.cpu().half()
    clip.save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    CLIPImageProcessorPil(
        size={"shortest_edge": PICTURE_PX},
        crop_size={"height": PICTURE_PX, "width": PICTURE_PX},
        image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(folder / "clip")


def save_text_encoder(clip: CLIPModel, folder: Path) -> None:
    """Write the text tower alone, as the pipeline's text encoder."""
    text_encoder = CLIPTextModel(clip.config.text_config)
    text_encoder.load_state_dict(clip.text_model.state_dict())
    text_encoder.half().save_pretrained(folder / "text_encoder")
