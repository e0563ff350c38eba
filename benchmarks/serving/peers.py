"""The other way of serving: diffusers' own pipeline, one call a request, with the tenant's weights put in before it.

Every peer has a UNet of its own, since they write into it: keys and values are copies, all other weights the base's.
Progress bars are off, adapters are in memory, and the pipeline has the base's noise schedule and the sampler asked for.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor

from cns.base_model import BaseModel
from cns.components import quiet
from cns.denoise import GenerationRequest
from cns.samplers import build_sampler

HOT = "tenant"
"""The one adapter whose weights are swapped in place."""

Draw = Callable[[int, GenerationRequest], Tensor]
"""(tenant's number, what is asked) -> a picture (3, height, width) float32 in 0..1 on the CPU."""


class PeersMissing(Exception):
    """peft is not installed: the extra `peers` brings it."""


def open_pipeline(base: BaseModel) -> Any:
    """The stock pipeline of `base` over a UNet of its own, which may be given adapters and other keys and values."""
    parts: dict[str, Any] = {
        "vae": base.vae,
        "text_encoder": base.text_encoders[0],
        "tokenizer": base.tokenizers[0],
        "unet": copy_unet(base),
        "scheduler": build_sampler("ddim", base.scheduler_config),
    }
    with quiet():
        if base.kind == "sdxl":
            second = {"text_encoder_2": base.text_encoders[1], "tokenizer_2": base.tokenizers[1]}
            flags = {"force_zeros_for_empty_prompt": base.zeros_for_no_words, "add_watermarker": False}
            pipeline: Any = StableDiffusionXLPipeline(**parts, **second, **flags)
        else:
            without = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
            pipeline = StableDiffusionPipeline(**parts, **without)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def copy_unet(base: BaseModel) -> Any:
    """A copy with keys and values of text of its own; all other parameters are the base's, which no peer writes."""
    shared = {
        id(parameter): parameter
        for name, parameter in base.unet.named_parameters()
        if name.removesuffix(".weight") not in base.kv_weights
    }
    return copy.deepcopy(base.unet, shared)


def call_pipeline(pipeline: Any, base: BaseModel, asked: GenerationRequest) -> Tensor:
    """One request, one call."""
    pipeline.scheduler = build_sampler(asked.sampler, base.scheduler_config)
    made = pipeline(
        asked.prompt,
        negative_prompt=asked.negative_prompt or None,
        num_inference_steps=asked.steps,
        guidance_scale=asked.guidance,
        generator=torch.Generator().manual_seed(asked.seed),
        height=asked.height_px or base.native_px,
        width=asked.width_px or base.native_px,
        output_type="pt",
    )
    picture: Tensor = made.images[0].float().cpu()
    return picture


def draw_plain(base: BaseModel) -> Draw:
    """The base alone, without anybody's adapter: what one call costs at least."""
    pipeline = open_pipeline(base)
    return lambda tenant, asked: call_pipeline(pipeline, base, asked)


class LoraTenants:
    """Every tenant's LoRA is loaded once; before each request `set_adapters` makes one of them the active one."""

    def __init__(self, base: BaseModel, loras: Sequence[Mapping[str, Tensor]] = ()):
        need_peft()
        self.base, self.pipeline = base, open_pipeline(base)
        self.count = 0
        for lora in loras:
            self.add(lora)

    def add(self, lora: Mapping[str, Tensor]) -> None:
        """Load one tenant more."""
        self.load(self.count, lora)
        self.count += 1

    def load(self, tenant: int, lora: Mapping[str, Tensor]) -> None:
        with only_what_matters():
            self.pipeline.load_lora_weights(dict(lora), adapter_name=f"tenant{tenant}")

    def remove(self, tenant: int) -> None:
        with only_what_matters():
            self.pipeline.delete_adapters(f"tenant{tenant}")

    def switch(self, tenant: int) -> None:
        self.pipeline.set_adapters(f"tenant{tenant}")

    def draw(self, tenant: int, asked: GenerationRequest) -> Tensor:
        self.switch(tenant)
        return call_pipeline(self.pipeline, self.base, asked)


class HotSwappedLora:
    """One LoRA is in the UNet, and before each request its weights become the tenant's: `hotswap=True`.

    compiled: the UNet goes through torch.compile, which swapping was made for; it is compiled by the first request.
    """

    def __init__(self, base: BaseModel, loras: Sequence[Mapping[str, Tensor]], *, compiled: bool = False):
        need_peft()
        self.base, self.pipeline, self._loras = base, open_pipeline(base), loras
        # Copies: peft takes the tensors as they are, and swapping would write into the first tenant's own.
        first = {name: tensor.clone() for name, tensor in loras[0].items()}
        with only_what_matters():
            if compiled:  # scales become tensors, so that swapping compiles nothing anew
                self.pipeline.enable_lora_hotswap(target_rank=next(iter(first.values())).shape[0])
            self.pipeline.load_lora_weights(first, adapter_name=HOT)
        if compiled:
            self.pipeline.unet = torch.compile(self.pipeline.unet)

    def swap(self, lora: Mapping[str, Tensor]) -> None:
        """Write a LoRA's weights over those that are there."""
        with only_what_matters():
            self.pipeline.load_lora_weights(dict(lora), adapter_name=HOT, hotswap=True)

    def draw(self, tenant: int, asked: GenerationRequest) -> Tensor:
        self.swap(self._loras[tenant])
        return call_pipeline(self.pipeline, self.base, asked)


class LoadedKeysAndValues:
    """Custom Diffusion as diffusers has it: before each request `load_attn_procs` makes new attention processors."""

    def __init__(self, base: BaseModel, weights: Sequence[Mapping[str, Tensor]]):
        self.base, self.pipeline = base, open_pipeline(base)
        self._files = [self._as_file(own) for own in weights]

    def _as_file(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What Custom Diffusion's file holds; self-attention is named with empty tensors, as the loader wants it."""
        tensors: dict[str, Tensor] = {}
        for processor in self.base.unet.attn_processors:
            layer = processor.removesuffix(".processor")
            if f"{layer}.to_k" not in weights:
                tensors[processor] = torch.empty(0)
                continue
            for letter in "kv":
                tensors[f"{processor}.to_{letter}_custom_diffusion.weight"] = weights[f"{layer}.to_{letter}"]
        return tensors

    def switch(self, tenant: int) -> None:
        with only_what_matters():
            self.pipeline.unet.load_attn_procs(self._files[tenant], _pipeline=self.pipeline)

    def draw(self, tenant: int, asked: GenerationRequest) -> Tensor:
        self.switch(tenant)
        return call_pipeline(self.pipeline, self.base, asked)


class CopiedKeysAndValues:
    """The quickest that can be had of Custom Diffusion's weights: they are copied into the UNet's own projections.

    diffusers has no call for this; whoever writes a server may. Steps then cost what they cost on the bare base.
    """

    def __init__(self, base: BaseModel, weights: Sequence[Mapping[str, Tensor]]):
        self.base, self.pipeline, self._weights = base, open_pipeline(base), weights
        self._layers = {layer: self.pipeline.unet.get_submodule(layer).weight for layer in base.kv_weights}

    @torch.no_grad()
    def switch(self, tenant: int) -> None:
        for layer, weight in self._weights[tenant].items():
            self._layers[layer].copy_(weight)

    def draw(self, tenant: int, asked: GenerationRequest) -> Tensor:
        self.switch(tenant)
        return call_pipeline(self.pipeline, self.base, asked)


def need_peft() -> None:
    """Raise PeersMissing without peft."""
    if find_spec("peft") is None:
        raise PeersMissing("peft is not installed here: `make performance` brings it, or the extra `peers`.")


@contextmanager
def only_what_matters() -> Iterator[None]:
    """Loading an adapter beside others warns of just that; warnings cost time, which is not the peer's fault."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
