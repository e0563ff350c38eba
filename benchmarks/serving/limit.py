"""Distance to the limit: arithmetic per second of the batched step, beside a large matrix product's in the same run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.markdown import make_table
from benchmarks.performance.record import Told
from benchmarks.serving.tenants import PROMPT, each_tenant
from benchmarks.timing import alternate, take_time
from cns.base_model import BaseModel
from cns.compose import compose
from cns.denoise import GenerationRequest, GenerationRun, denoise_step
from cns.kv import handed_attention

PRODUCT = "matrix product"
SIDES = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Plan:
    """limits: pictures in one step, each with guidance. calls: steps in each round."""

    limits: tuple[int, ...] = (1, 4, 8, 16)
    guidance: float = 4.0
    calls: int = 3
    rounds: int = 5


QUICK = Plan(limits=(1, 4), calls=1, rounds=1)


def measure(base: BaseModel, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Floating point operations and seconds of a step at each batch, and of the product, in turns."""
    version = compose(base)

    def begin(count: int) -> list[GenerationRun]:
        asked = GenerationRequest(PROMPT, steps=500, guidance=plan.guidance)
        return [GenerationRun(base, version, one) for one in each_tenant(count, asked)]

    def step(runs: list[GenerationRun]) -> None:
        for _ in range(plan.calls):
            denoise_step(base, runs)

    side = SIDES.get(base.device.type, 2048)
    left, right = (torch.randn(side, side, device=base.device).to(base.dtype) for _ in range(2))
    with handed_attention(base.unet):
        runs = {str(count): begin(count) for count in plan.limits}
        operations = {count: count_operations(lambda: denoise_step(base, own)) for count, own in runs.items()}  # noqa: B023
        ways: dict[str, Callable[[], object]] = {
            count: lambda own=own: step(own)  # type: ignore[misc]
            for count, own in runs.items()
        }
        ways[PRODUCT] = lambda: [left @ right for _ in range(plan.calls)]
        take_time(ways[PRODUCT], base.device)
        say(f"{plan.rounds} rounds")
        seconds = alternate(ways, plan.rounds, base.device)
    operations[PRODUCT] = 2 * side**3
    return {"operations": operations, "seconds": seconds, "side": side}


def count_operations(work: Callable[[], object]) -> int:
    """Floating point operations of matrix products and convolutions in `work`, a product and a sum counted as two.

    Attention is written out for counting: torch counts its fused kernels on some devices alone.
    """
    counter: Any = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        work()
    return int(counter.get_total_flops())


# --- in words -------------------------------------------------------------------------------------------------------


def speeds(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, float]:
    """Operations a second of each batch and of the product."""
    return {
        name: figures["operations"][name] * plan["calls"] / median(seconds)
        for name, seconds in figures["seconds"].items()
    }


def report(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> Told:
    """How much of what the device can do the step does."""
    found = speeds(figures, plan)
    limit = found[PRODUCT]
    largest = str(max(plan["limits"]))
    sentence = (
        f"A product of two matrices of {figures['side']} x {figures['side']} reaches {limit / 1e9:.0f} GFLOP/s in the "
        f"same run; a step of {largest} pictures reaches {found[largest] / 1e9:.0f}, {found[largest] / limit:.0%} of "
        "it. Only matrix products and convolutions are counted: norms and activations take time and count for "
        "nothing. No number was asked for."
    )
    rows = [
        (
            name if name == PRODUCT else f"step of {name}",
            figures["operations"][name] / 1e9,
            1000 * median(figures["seconds"][name]) / plan["calls"],
            found[name] / 1e9,
            found[name] / limit,
        )
        for name in figures["seconds"]
    ]
    heads = ("", "GFLOP", "ms", "GFLOP/s", "of the product's")
    return Told((sentence,), (make_table(heads, rows),))
