"""Tiny pipelines with random weights, saved to disk in the layouts that real base models have.

Everything is seeded: the same call gives the same files. Pictures are 16 x 16, latents 8 x 8, texts 16 tokens.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

WORDS = "a photo of the dog cat mug robot house on grass at night red blue and next to".split()
"""Words that are one token each; every other word falls apart into letters and shared beginnings."""
MAX_TOKENS = 16
PICTURE_PX = 16


def build_tokenizer(padding: str = "<|endoftext|>", most_tokens: int = MAX_TOKENS) -> CLIPTokenizer:
    """All single letters, plus a chain of merges for each of WORDS; start and end are the highest ids, as in CLIP."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate(["!", *[c for c in letters if c != "!"]])}
    merges: list[tuple[str, str]] = []

    def know(piece: str) -> None:
        vocabulary.setdefault(piece, len(vocabulary))

    for letter in letters:
        know(letter + "</w>")
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            if pair not in merges:
                merges.append(pair)
                know("".join(pair))
            pieces = ["".join(pair), *pieces[2:]]
    for mark in ("<|startoftext|>", "<|endoftext|>"):
        know(mark)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=padding, model_max_length=most_tokens)


def build_text_config(tokenizer: CLIPTokenizer, **changes: Any) -> CLIPTextConfig:
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": tokenizer.model_max_length,
        "projection_dim": 32,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextConfig(**{**settings, **changes})


def build_vae(**changes: Any) -> AutoencoderKL:
    settings = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": PICTURE_PX,
    }
    return AutoencoderKL(**{**settings, **changes})


def build_unet(**changes: Any) -> UNet2DConditionModel:
    settings = {
        "sample_size": 8,
        "block_out_channels": (32, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**settings, **changes})


SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def seeded(build: Callable[[], Any], seed: int) -> Any:
    """What `build` makes with random weights from `seed`, without disturbing the caller's random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def build_sd1(path: Path, seed: int = 0, most_tokens: int = MAX_TOKENS) -> Path:
    """A Stable Diffusion 1.x shape: one CLIP text encoder, epsilon prediction."""
    tokenizer = build_tokenizer(most_tokens=most_tokens)
    return _save_sd(
        path,
        tokenizer=tokenizer,
        text_config=build_text_config(tokenizer),
        unet_changes={},
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False),
        seed=seed,
    )


def build_sd2(path: Path, seed: int = 0) -> Path:
    """A Stable Diffusion 2.x shape: linear projections, heads per level, "!" as padding, v-prediction."""
    tokenizer = build_tokenizer(padding="!")
    return _save_sd(
        path,
        tokenizer=tokenizer,
        text_config=build_text_config(tokenizer, hidden_act="gelu"),
        unet_changes={"use_linear_projection": True, "attention_head_dim": (2, 4)},
        scheduler=DDIMScheduler(
            **SCHEDULE,
            clip_sample=False,
            set_alpha_to_one=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
        seed=seed,
    )


def _save_sd(
    path: Path,
    tokenizer: CLIPTokenizer,
    text_config: CLIPTextConfig,
    unet_changes: dict[str, Any],
    scheduler: Any,
    seed: int,
) -> Path:
    pipeline = StableDiffusionPipeline(
        vae=seeded(build_vae, seed),
        text_encoder=seeded(lambda: CLIPTextModel(text_config), seed + 1),
        tokenizer=tokenizer,
        unet=seeded(lambda: build_unet(**unet_changes), seed + 2),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(path)
    return path


def build_sdxl(path: Path, seed: int = 0) -> Path:
    """An SDXL shape: two text encoders of widths 32 and 48, pooled text, time ids, two blocks at one level."""
    first, second = build_tokenizer(), build_tokenizer(padding="!")
    first_config = build_text_config(first)
    second_config = build_text_config(
        second, hidden_size=48, intermediate_size=96, num_hidden_layers=3, projection_dim=48, hidden_act="gelu"
    )
    pipeline = StableDiffusionXLPipeline(
        vae=seeded(lambda: build_vae(scaling_factor=0.13025), seed),
        text_encoder=seeded(lambda: CLIPTextModel(first_config), seed + 1),
        text_encoder_2=seeded(lambda: CLIPTextModelWithProjection(second_config), seed + 2),
        tokenizer=first,
        tokenizer_2=second,
        unet=seeded(
            lambda: build_unet(
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=80,
                attention_head_dim=(2, 4),
                transformer_layers_per_block=(1, 2),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=48 + 6 * 8,
            ),
            seed + 3,
        ),
        scheduler=EulerDiscreteScheduler(**SCHEDULE),
        add_watermarker=False,
    )
    pipeline.save_pretrained(path)
    return path


# --- the original, single-file layout -------------------------------------------------------------------------------


def single_file(folder: Path, out: Path) -> Path:
    """Write the weights of a tiny diffusers folder as one checkpoint in the layout of the original releases."""
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    attended = {name.split(".")[1] for name in unet if name.startswith("up_blocks.") and ".attentions." in name}
    checkpoint = {f"model.diffusion_model.{_unet_name(name, attended)}": tensor for name, tensor in unet.items()}
    for name, tensor in vae.items():
        as_convolution = "attentions" in name and tensor.ndim == 2  # attention was a 1 x 1 convolution
        checkpoint[f"first_stage_model.{_vae_name(name)}"] = tensor[:, :, None, None] if as_convolution else tensor
    text = load_file(folder / "text_encoder" / "model.safetensors")
    if (folder / "text_encoder_2").is_dir():
        checkpoint |= _clip_layout("conditioner.embedders.0.transformer.", text)
        second = load_file(folder / "text_encoder_2" / "model.safetensors")
        checkpoint |= _open_clip_layout("conditioner.embedders.1.model.", second)
    elif _is_linear(unet):
        checkpoint |= _open_clip_layout("cond_stage_model.model.", text)  # 2.x came with an OpenCLIP text encoder
    else:
        checkpoint |= _clip_layout("cond_stage_model.transformer.", text)
    save_file({name: tensor.contiguous() for name, tensor in checkpoint.items()}, out)
    return out


def _is_linear(unet: dict[str, Tensor]) -> bool:
    return next(tensor for name, tensor in unet.items() if name.endswith("proj_in.weight")).ndim == 2


def _rename(name: str, pairs: list[tuple[str, str]]) -> str:
    for old, new in pairs:
        name = name.replace(old, new)
    return name


_TOP = [
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
]
_RESNET = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv_shortcut", "skip_connection"),
]


def _unet_name(name: str, attended: set[str]) -> str:
    """A diffusers UNet name in the original layout, for one resnet per level (two on the way up) and two levels.

    attended: the levels on the way up that have attention; an upsampler comes after it.
    """
    first, *rest = name.split(".")
    if first not in ("down_blocks", "mid_block", "up_blocks"):
        return _rename(name, _TOP)
    if first == "mid_block":
        kind, number, tail = rest[0], int(rest[1]), ".".join(rest[2:])
        if kind == "attentions":
            return f"middle_block.1.{tail}"
        return f"middle_block.{2 * number}.{_rename(tail, _RESNET)}"
    level, kind, number, tail = int(rest[0]), rest[1], int(rest[2]), ".".join(rest[3:])
    if first == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{2 * level + 2}.0.op.{tail.removeprefix('conv.')}"
        block = f"input_blocks.{2 * level + 1 + number}"
    elif kind == "upsamplers":
        return f"output_blocks.{2 * level + 1}.{2 if rest[0] in attended else 1}.{tail}"
    else:
        block = f"output_blocks.{2 * level + number}"
    return f"{block}.1.{tail}" if kind == "attentions" else f"{block}.0.{_rename(tail, _RESNET)}"


def _vae_name(name: str) -> str:
    """A diffusers autoencoder name in the original layout, for two levels; the way up is counted from the end there."""
    for level in range(2):
        name = name.replace(f"up_blocks.{level}.", f"up.{1 - level}.").replace(
            f"down_blocks.{level}.", f"down.{level}."
        )
    if "attentions" in name:
        pairs = [("group_norm", "norm"), ("to_out.0", "proj_out"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v")]
        return _rename(name.replace("mid_block.attentions.0", "mid.attn_1"), pairs)
    pairs = [
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("resnets", "block"),
        ("conv_shortcut", "nin_shortcut"),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        ("conv_norm_out", "norm_out"),
    ]
    return _rename(name, pairs)


def _clip_layout(prefix: str, text: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in text.items()}


def _open_clip_layout(prefix: str, text: dict[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP keeps query, key and value of a layer in one matrix, and multiplies by the projection from the right."""
    pairs = [
        ("embeddings.token_embedding.weight", "token_embedding.weight"),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("final_layer_norm", "ln_final"),
        ("encoder.layers", "transformer.resblocks"),
        ("layer_norm1", "ln_1"),
        ("layer_norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
        ("self_attn", "attn"),
        ("text_projection.weight", "text_projection"),
    ]
    plain = {_rename(name.removeprefix("text_model."), pairs): tensor for name, tensor in text.items()}
    found: dict[str, Tensor] = {}
    for name, tensor in plain.items():
        if ".q_proj." in name:
            parts = [plain[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            found[prefix + name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
        elif name == "text_projection":
            found[prefix + name] = tensor.T
        elif not any(part in name for part in (".k_proj.", ".v_proj.")):
            found[prefix + name] = tensor
    return found
