"""Small models with random weights in the shapes of larger ones: for arithmetic, not for pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.sd15_shape import build_byte_tokenizer

CAPTION_WIDTH = 96
"""Width of the text states that the small transformers read."""


def seeded(build: Callable[[], Any], seed: int) -> Any:
    """What `build` makes with random weights from `seed`, without disturbing anybody's random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def build_small_sdxl(folder: Path, seed: int = 0) -> Path:
    """SDXL's shape with its two text encoders at their widths, 768 and 1280: its UNet reads 2048 numbers a word.

    Depths, channels and pictures (32 px) are small.
    """
    seeded(_small_sdxl, seed).save_pretrained(folder)
    return folder


def _small_sdxl() -> StableDiffusionXLPipeline:
    tokenizer = build_byte_tokenizer()

    def text_config(width: int, heads: int) -> CLIPTextConfig:
        return CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=width,
            num_hidden_layers=2,
            num_attention_heads=heads,
            projection_dim=1280,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )

    return StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            sample_size=32,
            scaling_factor=0.13025,
        ),
        text_encoder=CLIPTextModel(text_config(768, 12)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(1280, 20)),
        tokenizer=tokenizer,
        tokenizer_2=build_byte_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(64, 128),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            cross_attention_dim=2048,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=1280 + 6 * 32,
        ),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def build_small_pixart(seed: int = 0) -> PixArtTransformer2DModel:
    """PixArt's shape: a transformer over patches that reads text by cross-attention, with biases and padding masked."""

    def build() -> PixArtTransformer2DModel:
        return PixArtTransformer2DModel(
            num_attention_heads=4,
            attention_head_dim=16,
            num_layers=3,
            cross_attention_dim=64,
            caption_channels=CAPTION_WIDTH,
            sample_size=8,
            out_channels=4,
        )

    return seeded(build, seed).eval().requires_grad_(False)


def build_small_sd3(seed: int = 0) -> SD3Transformer2DModel:
    """Stable Diffusion 3's shape: text and picture attend to one another, and text changes from layer to layer."""

    def build() -> SD3Transformer2DModel:
        return SD3Transformer2DModel(
            sample_size=8,
            num_layers=3,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=CAPTION_WIDTH,
            caption_projection_dim=64,
            pooled_projection_dim=32,
            in_channels=4,
            out_channels=4,
            pos_embed_max_size=8,
        )

    return seeded(build, seed).eval().requires_grad_(False)
