"""What each tenant brings: a version of ours, a LoRA, or Custom Diffusion's weights, all with random values.

Time does not depend on the values, so nothing is learned here. Every kind is as large as its method makes it.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.delta import Delta
from cns.denoise import GenerationRequest

SHARE = 0.058
"""Of the entries of keys and values that a concept changes: in the middle of what the paper's 0.13 % come to."""
RANK = 4
NOUN = "dog"
PROMPT = f"a photo of a {NOUN} on the grass"


def random_delta(base: BaseModel, concept: str, seed: int, share: float = SHARE) -> Delta:
    """A delta with values at `share` of every layer's entries, near the base's own; its token is its class noun's."""
    vectors = base.token_vectors(NOUN)
    return scatter_values(base.kv_weights, base.id, concept, seed, share, tuple(vector.cpu() for vector in vectors))


def scatter_values(
    weights: Mapping[str, Tensor], base_id: str, concept: str, seed: int, share: float, vectors: tuple[Tensor, ...]
) -> Delta:
    """The same without a base. weights: layer -> (out, in); `share` of the entries of each is given another value."""
    generator = torch.Generator().manual_seed(seed)
    positions, values, shapes = {}, {}, {}
    for layer, weight in weights.items():
        chosen = torch.rand(weight.numel(), generator=generator) < share
        where = chosen.nonzero().flatten()
        near = weight.detach().flatten()[where.to(weight.device)].float().cpu()
        positions[layer] = where
        values[layer] = (near + 1e-3 * torch.randn(len(where), generator=generator)).half()
        shapes[layer] = (int(weight.shape[0]), int(weight.shape[1]))
    return Delta(concept, NOUN, base_id, None, positions, values, shapes, vectors)


def random_lora(base: BaseModel, seed: int, rank: int = RANK, size: float = 1e-2) -> dict[str, Tensor]:
    """A LoRA of every key and value projection of text, in peft's names, as `load_lora_weights` takes it.

    No other layer has one: these are the projections that a version of ours changes, and fewer layers are faster.
    size: of the entries of B; 0 makes a LoRA that changes nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer, weight in base.kv_weights.items():
        out, width = weight.shape
        down = torch.randn(rank, width, generator=generator) / width**0.5
        up = size * torch.randn(out, rank, generator=generator)
        tensors[f"unet.{layer}.lora_A.weight"] = down.to(weight)
        tensors[f"unet.{layer}.lora_B.weight"] = up.to(weight)
    return tensors


def random_weights(base: BaseModel, seed: int) -> dict[str, Tensor]:
    """Custom Diffusion's: every key and value projection whole, layer -> (out, in), near the base's own."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: weight.detach() + 1e-3 * torch.randn(weight.shape, generator=generator).to(weight)
        for layer, weight in base.kv_weights.items()
    }


def each_tenant(count: int, asked: GenerationRequest) -> list[GenerationRequest]:
    """The request of each tenant: the same, from a seed of their own."""
    return [replace(asked, seed=asked.seed + number) for number in range(count)]
