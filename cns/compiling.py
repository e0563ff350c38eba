"""The denoiser as one compiled program, for one form of its inputs: exported, and compiled by AOTInductor.

What `torch.compile` makes on its first call, in the thread that makes the call, is made here ahead and written to a
file, by whichever process has the time. The weights are not in it: `cns.compiled` gives it those of the live base.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch._inductor import aoti_compile_and_package

from cns.errors import CnsError
from cns.kv import HandedAttention, LayerKV
from cns.layout import lay_out

FEWEST_ROWS = 2  # a batch of one row is a special case for torch.export, which would make a program of its own of it
MOST_ROWS = 63  # diffusers' layers that double a picture's sides treat batches of 64 and more in another way
OPTIONS = {
    "aot_inductor.package_constants_in_so": False,
    "always_keep_tensor_constants": True,  # small ones too, which would be written into the program as numbers
    "aot_inductor.precompile_headers": False,  # each would be read once, and takes longer than reading it in place
}
PREFIX = "unet."  # of the weights' names in the program


class CannotCompile(CnsError):
    """There is no compiled denoiser here; the sentence says why."""


@dataclass(frozen=True)
class Form:
    """What a compiled denoiser is made for. How many rows a call has is left open, from FEWEST_ROWS to MOST_ROWS.

    latents: channels, height and width. kv: each cross-attention layer's name, its tokens and its width, in order.
    added: names and widths of SDXL's conditions. dtype: of all of them, by its name, as "float16".
    """

    latents: tuple[int, int, int]
    kv: tuple[tuple[str, int, int], ...]
    added: tuple[tuple[str, int], ...]
    dtype: str

    @classmethod
    def of(cls, latents: Tensor, kv: LayerKV, added: Mapping[str, Tensor] | None) -> "Form":
        """The form of a call of `cns.kv.predict`."""
        channels, height, width = latents.shape[1:]
        return cls(
            (channels, height, width),
            tuple((layer, *key.shape[1:]) for layer, (key, _) in kv.items()),
            tuple((name, condition.shape[1]) for name, condition in (added or {}).items()),
            str(latents.dtype).removeprefix("torch."),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Form":
        """What `to_json` gave, after it went through JSON."""
        channels, height, width = content["latents"]
        kv = tuple((layer, tokens, size) for layer, tokens, size in content["kv"])
        return cls((channels, height, width), kv, tuple((n, size) for n, size in content["added"]), content["dtype"])


class Denoiser(nn.Module):
    """`cns.kv.predict` as a module of tensors alone: a UNet that takes handed K and V for good."""

    def __init__(self, unet: UNet2DConditionModel):
        super().__init__()
        self.unet = unet
        for name, part in unet.named_modules():
            if name.endswith(("attn1", "attn2")):
                part.processor = HandedAttention(name)

    def forward(self, latents: Tensor, timesteps: Tensor, kv: LayerKV, added: Mapping[str, Tensor] | None) -> Tensor:
        """Latents (rows, channels, height, width), times (rows,) float32 -> noise or velocity, as latents."""
        unread = latents.new_zeros(latents.shape[0], 1, self.unet.config.cross_attention_dim)
        made: Tensor = self.unet(
            latents,
            timesteps,
            encoder_hidden_states=unread,
            cross_attention_kwargs={"kv": kv, "regions": None},
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return made


def find_compiler() -> str | None:
    """The C++ compiler that would be used; None where there is none. A GPU's programs need it too, for their host."""
    return shutil.which(os.environ.get("CXX") or "g++")


def compile_denoiser(config: Mapping[str, Any], form: Form, device: torch.device, path: Path) -> None:
    """Write the program of a UNet of that configuration, for that form and device, to `path` (.pt2).

    Takes a minute or more of one core on a small model, and says nothing of pictures: no weight is read, so none needs
    to be there. Raises CannotCompile where there is no compiler, or none that can do it.
    """
    if find_compiler() is None:
        raise CannotCompile("There is no C++ compiler here (g++, or what CXX names).")
    try:
        with torch.no_grad():
            program = _export(_build_empty(config, form, device), form, device)
            aoti_compile_and_package(
                program,
                package_path=str(path),
                inductor_configs=OPTIONS,
            )
    except Exception as error:  # of dozens of classes, by the release of torch
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CannotCompile(f"The denoising step cannot be compiled here: {first_line}") from error


def _build_empty(config: Mapping[str, Any], form: Form, device: torch.device) -> Denoiser:
    """The UNet with weights that hardly anybody wrote to, so that on a CPU they take hardly any memory either."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(config))
    unet.requires_grad_(False).eval()
    nn.Module.to(unet, dtype=getattr(torch, form.dtype))
    unet.to_empty(device=device)
    for weight in unet.state_dict().values():
        # A weight of equal values, as fresh memory may be, would be taken for a constant and left out of the program.
        weight.view(-1)[0], weight.view(-1)[-1] = 0, 1
    lay_out(unet, device)
    return Denoiser(unet)


def _export(denoiser: Denoiser, form: Form, device: torch.device) -> Any:
    rows = torch.export.Dim("rows", min=FEWEST_ROWS, max=MOST_ROWS)
    dtype, count = getattr(torch, form.dtype), 2 * FEWEST_ROWS

    def fill(*sizes: int) -> Tensor:
        return torch.zeros(count, *sizes, dtype=dtype, device=device)

    kv = {layer: (fill(tokens, width), fill(tokens, width)) for layer, tokens, width in form.kv}
    added = {name: fill(width) for name, width in form.added} or None
    times = torch.zeros(count, device=device)
    open_rows = {
        "latents": {0: rows},
        "timesteps": {0: rows},
        "kv": {layer: ({0: rows}, {0: rows}) for layer in kv},
        "added": {name: {0: rows} for name in added} if added else None,
    }
    inputs = (fill(*form.latents), times, kv, added)
    return torch.export.export(denoiser, inputs, dynamic_shapes=open_rows, strict=False)
