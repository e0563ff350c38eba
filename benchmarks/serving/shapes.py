"""Keys and values at the size of Stable Diffusion 1.5, without the rest of the model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from benchmarks.continual.low_rank import ATTENTION, find_projections
from cns.base_model import BaseModel

SD15 = "Stable Diffusion 1.5's shape"


def sd15_unet() -> Any:
    """The public architecture without memory for its weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def kv_shapes(unet: nn.Module) -> dict[str, tuple[int, int]]:
    """Every key and value projection of text -> (out, in), in the UNet's order."""
    return {
        name: (int(module.weight.shape[0]), int(module.weight.shape[1]))
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(("attn2.to_k", "attn2.to_v"))
    }


def attention_shapes(unet: nn.Module) -> dict[str, tuple[int, int]]:
    """Every projection of self- and cross-attention -> (out, in)."""
    found = find_projections(unet, ATTENTION)
    return {name: (layer.out_features, layer.in_features) for name, layer in found.items()}


@dataclass(frozen=True)
class _KeysAndValuesAlone:
    """What `compose` reads of a base."""

    kv_weights: Mapping[str, Tensor]
    id: str = "0" * 64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def base_of_kv(shapes: Mapping[str, tuple[int, int]], dtype: torch.dtype = torch.float16) -> BaseModel:
    """Random keys and values alone, as far as `compose` needs a base: not a model that could draw."""
    generator = torch.Generator().manual_seed(0)
    weights = {layer: torch.randn(shape, generator=generator).to(dtype) for layer, shape in shapes.items()}
    return cast(BaseModel, _KeysAndValuesAlone(weights))
