"""Stage two: a small CLIP. Its text tower, frozen, becomes the text encoder; whole, it serves captions and metrics.

Trained by the contrastive loss of CLIP over groups of near-identical scenes (`groups`), with two read-outs on the pooled features that must name what the
caption names. The read-outs are thrown away afterwards; they keep the towers from ignoring what a batch does not happen to need.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTextModel, CLIPTokenizer

from storybook.attributes import HEADS, UNKNOWN, label_scenes
from storybook.groups import GROUP, contrast_group
from storybook.pools import draw_pool, to_pixels
from storybook.training import Clock, Log, MovingAverage, autocast, load_state, module_state, record_stage, restore_module, save_state
from storybook.world import NOUNS, PICTURE_PX, caption, draw, random_scene

GROUPS_IN_BATCH = 12
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


class ClipWithReadouts(nn.Module):
    """The CLIP and one linear read-out per attribute on each tower's embedding."""

    def __init__(self, clip: CLIPModel):
        super().__init__()
        self.clip = clip
        width = clip.config.projection_dim
        self.from_image = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in HEADS.items()})
        self.from_text = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in HEADS.items()})

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """pixels (n, 3, 64, 64), tokens (n, 32) -> embeddings (n, 128) each, not normalised."""
        image = self.clip.visual_projection(self.clip.vision_model(pixel_values=pixels).pooler_output)
        text = self.clip.text_projection(self.clip.text_model(input_ids=tokens).pooler_output)
        return image, text


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
    """Train, log, and write `folder`/clip and `folder`/text_encoder in half precision."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(1)
    model = ClipWithReadouts(build_clip(tokenizer)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    average = MovingAverage(model, 0.998)
    state_file = checkpoints / "clip.safetensors"
    step = 0
    if state_file.exists():
        tensors, facts = load_state(state_file)
        restore_module(model, optimizer, average, tensors)
        step = int(str(facts["step"]))
    scenes, pictures = draw_pool(contrast_group, pool_groups, seed=1000 + step)
    labels = label_scenes(scenes)
    log(f"clip: {len(scenes)} scenes drawn, going on from step {step}")
    clock = Clock(minutes)
    rng = np.random.default_rng((7, step))
    while not clock.over:
        chosen = rng.choice(pool_groups, GROUPS_IN_BATCH, replace=False)
        rows = (torch.from_numpy(chosen)[:, None] * GROUP + torch.arange(GROUP)).flatten()
        tokens = tokenize(tokenizer, [caption(scenes[row], rng) for row in rows.tolist()]).to(device)
        target = labels[rows].to(device)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * clock.rate(step, 100)
        with autocast(device):
            image, text = model(to_pixels(pictures[rows], device), tokens)
            contrast = contrastive_loss(image, text, model.clip.logit_scale)
            named = readout_loss(model.from_image, image, target)
            worded = readout_loss(model.from_text, text, target)
        loss = contrast + named + 0.3 * worded
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(model)
        step += 1
        if step % 50 == 0:
            log(
                f"clip step {step} share {clock.share:.2f} contrast {contrast.item():.3f} image read-out {named.item():.3f}"
                f" text read-out {worded.item():.3f}"
            )
        if step % 200 == 0:
            log(f"clip step {step} noun accuracy {noun_accuracy(model.clip, tokenizer):.3f}")
    save_state(state_file, module_state(model, optimizer, average), {"step": step})
    record_stage(folder, "clip", steps=step, samples=step * GROUP * GROUPS_IN_BATCH, minutes=clock.minutes, device=device.type)
    average.write_into(model)
    log(
        f"clip done: step {step} noun accuracy {noun_accuracy(model.clip, tokenizer):.3f}"
        f" retrieval of 256 {retrieval_accuracy(model.clip, tokenizer):.3f}"
    )
    export(model.clip, tokenizer, folder)


def export(clip: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the CLIP with its processor, and its text tower alone as the pipeline's text encoder."""
    clip = clip.cpu().half()
    clip.save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    CLIPImageProcessorPil(
        size={"shortest_edge": PICTURE_PX},
        crop_size={"height": PICTURE_PX, "width": PICTURE_PX},
        image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(folder / "clip")
    text_encoder = CLIPTextModel(clip.config.text_config)
    text_encoder.load_state_dict(clip.text_model.state_dict())
    text_encoder.half().save_pretrained(folder / "text_encoder")

