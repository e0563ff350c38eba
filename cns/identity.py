"""Fingerprints of models: one of the bytes in memory, one of what the model is."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# What shapes do not show but the output depends on. A fixed list: a library's new option must not change every id.
_UNET_FIELDS = (
    "act_fn addition_embed_type addition_time_embed_dim attention_head_dim block_out_channels cross_attention_dim "
    "down_block_types flip_sin_to_cos freq_shift in_channels layers_per_block mid_block_type norm_eps norm_num_groups "
    "num_attention_heads out_channels transformer_layers_per_block up_block_types use_linear_projection"
).split()
_TEXT_FIELDS = "hidden_act hidden_size layer_norm_eps num_attention_heads num_hidden_layers".split()


def checksum(modules: Mapping[str, nn.Module]) -> str:
    """SHA-256 (64 hex digits) over every parameter and buffer of `modules` as they are in memory now."""
    digest = hashlib.sha256()
    for label, module in modules.items():
        _add_tensors(digest, label, [*module.named_parameters(), *module.named_buffers()])
    return digest.hexdigest()


def base_id(unet: Any, text_encoders: Iterable[Any], prediction_type: str) -> str:
    """SHA-256 (64 hex digits) of what deltas depend on: architecture and weights of the UNet and the text encoders.

    Weights count as rounded to float16, so a base saved or loaded in float32 and its copy in float16 have the same id.
    Weights already rounded to bfloat16 have lost that identity: compute the id before. The VAE is left out, because
    no value of K or V depends on it.
    """
    digest = hashlib.sha256(prediction_type.encode())
    _add_config(digest, unet.config, _UNET_FIELDS)
    _add_tensors(digest, "unet", _rounded(unet))
    for place, encoder in enumerate(text_encoders):
        _add_config(digest, encoder.config, _TEXT_FIELDS)
        _add_tensors(digest, f"text_encoder_{place}", _rounded(encoder))
    return digest.hexdigest()


def _rounded(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return ((name, tensor.to(torch.float16)) for name, tensor in module.named_parameters())


def _add_config(digest: Any, config: Any, fields: Iterable[str]) -> None:
    chosen = {field: getattr(config, field, None) for field in fields}
    digest.update(json.dumps(chosen, sort_keys=True).encode())


def _add_tensors(digest: Any, label: str, named: Iterable[tuple[str, Tensor]]) -> None:
    for name, tensor in named:
        digest.update(f"{label}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
