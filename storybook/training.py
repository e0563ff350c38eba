"""What every training stage shares: a clock, a moving average of the weights, checkpoints, a log line."""

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Clock:
    """A budget in minutes. The learning rate falls over the last part of it, so that every stop is a good one."""

    def __init__(self, minutes: float, cooldown: float = 0.2):
        self.started = time.monotonic()
        self.seconds = minutes * 60
        self.cooldown = cooldown

    @property
    def share(self) -> float:
        """Share of the budget that is used, 0 to 1 and beyond."""
        return (time.monotonic() - self.started) / self.seconds

    @property
    def minutes(self) -> float:
        """Minutes since the start."""
        return (time.monotonic() - self.started) / 60

    @property
    def over(self) -> bool:
        return self.share >= 1

    def rate(self, step: int, warmup: int) -> float:
        """Factor of the learning rate: linear warm-up over `warmup` steps, cosine fall over the last share."""
        rise = min(1.0, (step + 1) / warmup)
        into = min(1.0, max(0.0, (self.share - 1 + self.cooldown) / self.cooldown))
        return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * into)))


class MovingAverage:
    """Exponential moving average of a module's parameters, in float32. `decay` rises to its value with the step
    count.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.steps = 0
        self.values = {name: p.detach().float().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(
            list(self.values.values()), [p.detach().float() for _, p in module.named_parameters()], 1 - decay
        )

    @torch.no_grad()
    def write_into(self, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            parameter.copy_(self.values[name])


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where matrix products are: 2.6 times float32 on CPUs with AVX512-BF16 and the norm on GPUs."""
    return torch.autocast(device.type, torch.bfloat16)


def save_state(path: Path, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
    """Write tensors and JSON facts as one .safetensors file, by rename, so that a killed run leaves the last good
    one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    save_file(whole, unfinished, metadata={"facts": json.dumps(facts)})
    unfinished.replace(path)


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read what `save_state` wrote."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    return load_file(path), facts


def module_state(module: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage) -> dict[str, Tensor]:
    """Everything a run needs to go on: weights, moments, moving average."""
    tensors: dict[str, Tensor] = {f"weights.{name}": p.detach() for name, p in module.named_parameters()}
    tensors |= {f"average.{name}": value for name, value in average.values.items()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        for key, moment in optimizer.state.get(parameter, {}).items():
            tensors[f"moments.{index}.{key}"] = moment
    return tensors


@torch.no_grad()
def restore_module(
    module: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage, tensors: dict[str, Tensor]
) -> None:
    """The inverse of `module_state`. A file without moments (shipped weights) starts the optimiser afresh."""
    for name, parameter in module.named_parameters():
        parameter.copy_(tensors[f"weights.{name}"])
        average.values[name].copy_(tensors[f"average.{name}"])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        prefix = f"moments.{index}."
        moments = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if moments:
            optimizer.state[parameter] = {
                key: tensor.to("cpu" if key == "step" else parameter.device) for key, tensor in moments.items()
            }


def begin(
    state_file: Path, shipped: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage
) -> dict[str, int]:
    """Go on from the stage's checkpoint; where there is none, from the weights in the model folder; else from nothing.

    Returns the counts so far ("steps", "samples"). From shipped weights the optimiser starts afresh, and so does the
    average: with its full memory it would still hold a good part of the shipped weights after a short run.
    """
    if state_file.exists():
        tensors, facts = load_state(state_file)
        restore_module(module, optimizer, average, tensors)
        counts = {"steps": int(str(facts["steps"])), "samples": int(str(facts["samples"]))}
        average.steps = counts["steps"]
    elif shipped.exists():
        weights = load_file(shipped)
        restore_module(module, optimizer, average, {f"{kind}.{n}": t for n, t in weights.items() for kind in _KINDS})
        record = json.loads((shipped.parent.parent / "training.json").read_text()).get(state_file.stem, {})
        counts = {"steps": int(record.get("steps", 0)), "samples": int(record.get("samples", 0))}
    else:
        counts = {"steps": 0, "samples": 0}
    return counts


_KINDS = ("weights", "average")


def save_half(module: nn.Module, folder: Path) -> None:
    """Save a diffusers or transformers module in half precision safetensors, leaving it as it was."""
    kept = {name: p.detach().clone() for name, p in module.named_parameters()}
    dtype = next(module.parameters()).dtype
    module.half().save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
    module.to(dtype)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(kept[name])


def record_stage(folder: Path, stage: str, *, steps: int, samples: int, minutes: float, device: str) -> None:
    """Keep beside the weights how long a stage has run in all; `minutes` are those of this run, `steps` and `samples`
    the totals.
    """
    path = folder / "training.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    before = float(record.get(stage, {}).get("minutes", 0))
    record[stage] = {"steps": steps, "samples": samples, "minutes": round(before + minutes, 1), "device": device}
    path.write_text(json.dumps(record, indent=1) + "\n")


Log = Callable[[str], None]
