"""The nearest that a peer comes to mixed batches: peft's `adapter_names`, a LoRA for each row of one pipeline call.

diffusers has no call for it, and peft has it for its own models alone; the same hooks on diffusers' UNet do it. All
requests have to begin together, with the same steps, guidance, sampler and size, and all end together.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.serving.ours import rows_of
from benchmarks.serving.peers import LoraTenants
from cns.base_model import BaseModel
from cns.denoise import GenerationRequest
from cns.samplers import build_sampler


class MixedLoraBatch:
    """Every tenant's LoRA is loaded once, and one call of the pipeline draws a picture for each of them."""

    def __init__(self, base: BaseModel, loras: Sequence[Mapping[str, Tensor]]):
        self.base, self.pipeline = base, LoraTenants(base, loras).pipeline

    def draw(self, tenants: Sequence[int], requests: Sequence[GenerationRequest]) -> Tensor:
        """(n, 3, height, width) float32 in 0..1 on the CPU. The requests may differ in prompt and seed alone."""
        asked = requests[0]
        self.pipeline.scheduler = build_sampler(asked.sampler, self.base.scheduler_config)
        unwanted = [request.negative_prompt for request in requests]
        names = [f"tenant{tenant}" for tenant in tenants] * rows_of(asked)  # first all rows without a prompt, then with
        with _adapters_of_rows(self.pipeline.unet, names):
            made = self.pipeline(
                [request.prompt for request in requests],
                negative_prompt=unwanted if any(unwanted) else None,
                num_inference_steps=asked.steps,
                guidance_scale=asked.guidance,
                generator=[torch.Generator().manual_seed(request.seed) for request in requests],
                height=asked.height_px or self.base.native_px,
                width=asked.width_px or self.base.native_px,
                output_type="pt",
            )
        pictures: Tensor = made.images.float().cpu()
        return pictures


@contextmanager
def _adapters_of_rows(unet: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """While the block runs, row i of every call of `unet` has the adapter `names[i]`, as peft's own models do it."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # the project runs without peft

    def tell(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], rows: list[str]) -> Any:
        return args, {**named, "adapter_names": rows}

    layers = [module for module in unet.modules() if isinstance(module, BaseTunerLayer)]
    handles = [layer.register_forward_pre_hook(partial(tell, rows=list(names)), with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
