"""Bytes of a version at the size of Stable Diffusion 1.5, beside other ways of keeping a concept, and the bound.

Values are random at positions drawn evenly, so nothing can be saved on their pattern: the bound is exact. A LoRA and
Custom Diffusion's weights are written as safetensors files in float16, as deltas are; the whole model is counted.
"""

import lzma
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from benchmarks.bars import at_most
from benchmarks.markdown import make_table
from benchmarks.performance.record import Told
from benchmarks.serving.shapes import SD15, attention_shapes, base_of_kv, kv_shapes, sd15_unet
from benchmarks.serving.tenants import SHARE, scatter_values
from benchmarks.svg import Bar as Column
from benchmarks.svg import bar_chart
from cns.base_model import BaseModel
from cns.delta import Delta
from cns.positions import encode_positions

VALUE_BITS, TOKEN_WIDTH = 16, 768
OURS = "Elias-Fano code, as deltas have it"
MOST_OF_BOUND = 1.1


@dataclass(frozen=True)
class Plan:
    """share: of the entries of keys and values that the concept changes."""

    share: float = SHARE


QUICK = Plan()


def measure(base: BaseModel, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Bytes of each kind. The base that is loaded has no part in it."""
    unet = sd15_unet()
    shapes = kv_shapes(unet)
    say(f"a delta of {plan.share:.1%} of {sum(out * width for out, width in shapes.values())} entries")
    delta = make_delta(shapes, plan.share)
    found = {
        "ours": len(delta.to_bytes()),
        "LoRA rank 4, keys and values": lora_bytes(shapes, 4),
        "LoRA rank 16, keys and values": lora_bytes(shapes, 16),
        "LoRA rank 4, all attention": lora_bytes(attention_shapes(unet), 4),
        "LoRA rank 16, all attention": lora_bytes(attention_shapes(unet), 16),
        "Custom Diffusion": len(
            save({name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()})
        ),
        "the whole UNet": sum(parameter.numel() for parameter in unet.parameters()) * VALUE_BITS // 8,
    }
    return {
        "entries": sum(out * width for out, width in shapes.values()),
        "values": delta.size,
        "bytes": found,
        "bound_bytes": bound_bytes(delta),
        "positions_bytes": position_bytes(delta),
    }


def make_delta(shapes: Mapping[str, tuple[int, int]], share: float) -> Delta:
    """A delta of random values at random positions of layers of these shapes, with one token."""
    base = base_of_kv(shapes)
    return scatter_values(base.kv_weights, base.id, "size", 0, share, (torch.zeros(TOKEN_WIDTH),))


def lora_bytes(shapes: Mapping[str, tuple[int, int]], rank: int) -> int:
    """The file of a LoRA of these layers in float16."""
    tensors = {}
    for name, (out, width) in shapes.items():
        tensors[f"unet.{name}.lora_A.weight"] = torch.zeros(rank, width, dtype=torch.float16)
        tensors[f"unet.{name}.lora_B.weight"] = torch.zeros(out, rank, dtype=torch.float16)
    return len(save(tensors))


def bound_bytes(delta: Delta) -> float:
    """The least that can say which entries are changed, when any are as likely, and 16 bits for each value."""
    bits = float(VALUE_BITS * delta.size)
    for layer, where in delta.positions.items():
        entries = math.prod(delta.shapes[layer])
        bits += entries * binary_entropy(len(where) / entries)
    return bits / 8


def binary_entropy(share: float) -> float:
    """Bits of one entry that is changed with probability `share`."""
    return -sum(part * math.log2(part) for part in (share, 1 - share) if part > 0)


def position_bytes(delta: Delta) -> dict[str, float]:
    """What saying the positions takes in several codes: as deltas do, one bit an entry, packed further, or by gaps."""
    written, packed, gaps = 0, [], []
    for layer, where in delta.positions.items():
        written += len(encode_positions(where.numpy(), math.prod(delta.shapes[layer])))
        mask = np.zeros(math.prod(delta.shapes[layer]), dtype=bool)
        mask[where.numpy()] = True
        packed.append(np.packbits(mask).tobytes())
        gaps.append(np.diff(where.numpy(), prepend=-1) - 1)
    joined, distances = b"".join(packed), np.concatenate(gaps)
    return {
        OURS: written,
        "one bit an entry": len(joined),
        "the same, zlib": len(zlib.compress(joined, 9)),
        "the same, lzma": len(lzma.compress(joined)),
        "Rice code of the gaps": rice_bits(distances) / 8,
        "least there is": bound_bytes(delta) - VALUE_BITS * delta.size / 8,
    }


def rice_bits(gaps: np.ndarray) -> int:
    """Length of the gaps (n,) int64 >= 0 in the best Rice code (Rice 1979): k low bits, the rest in ones and a zero."""
    return min(int((gaps >> k).sum()) + len(gaps) * (1 + k) for k in range(16))


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> Told:
    """How near a delta's file is to the least there is, and where the rest goes."""
    found, bound, positions = figures["bytes"], figures["bound_bytes"], figures["positions_bytes"]
    ours = found["ours"]
    rest = ours - positions[OURS] - figures["values"] * VALUE_BITS // 8
    sentences = (
        f"At {SD15} with {plan['share']:.1%} of the {figures['entries'] / 1e6:.1f} M entries of keys and values "
        f"changed, a version takes {ours / 1e6:.2f} MB, {ours / bound:.3f} times the least that says as much. Its "
        f"positions take {positions[OURS] / 1e6:.2f} MB in Elias-Fano code, where "
        f"{positions['least there is'] / 1e6:.2f} MB would do; as one bit an entry they would take "
        f"{positions['one bit an entry'] / 1e6:.2f} MB, by gaps in a Rice code "
        f"{positions['Rice code of the gaps'] / 1e6:.2f} MB. Names, shapes, settings and the token take "
        f"{rest / 1e3:.1f} kB.",
        "A LoRA of low rank is smaller, and is another thing: it changes every entry a little, so that what one "
        "concept changed cannot be told from what another did.",
    )
    rows = [(name, size / 1e6, size / ours) for name, size in (*found.items(), ("least there is, for ours", bound))]
    codes = [(name, size / 1e6, size / positions["least there is"]) for name, size in positions.items()]
    columns = [Column(name, size / 1e6) for name, size in found.items() if name != "the whole UNet"]
    return Told(
        sentences,
        (
            make_table(("a version", "MB", "times ours"), rows),
            make_table(("its positions alone", "MB", "times the least"), codes),
        ),
        (at_most("bytes of a version as a multiple of the information bound", ours / bound, MOST_OF_BOUND),),
        {"bytes-per-version": bar_chart(columns, title="Megabytes of one version, float16", x_label="MB")},
    )
