"""A learning that was stopped, as bytes: its parameters, its optimiser's moments, how far it had come."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from cns.errors import LearningRefused


@dataclass(frozen=True)
class Checkpoint:
    """inputs: a fingerprint of all that decides the result. tensors: by name, on the CPU."""

    inputs: str
    steps_done: int
    losses: list[float]
    tensors: dict[str, Tensor]

    def to_bytes(self) -> bytes:
        facts = {"inputs": self.inputs, "steps_done": self.steps_done, "losses": self.losses}
        saved: bytes = save(self.tensors, metadata={"palimpsest-checkpoint": json.dumps(facts)})
        return saved

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """Raises LearningRefused for bytes that are no checkpoint."""
        try:
            length = int.from_bytes(data[:8], "little")
            facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["palimpsest-checkpoint"])
            return cls(facts["inputs"], int(facts["steps_done"]), [*map(float, facts["losses"])], load(data))
        except Exception as error:  # whatever the reader raises: nothing of a file it refused may be used
            raise LearningRefused("This checkpoint cannot be read.") from error


def fingerprint(facts: Mapping[str, Any], tensors: Iterable[Tensor]) -> str:
    """SHA-256 (64 hex digits) over all that decides a result: plain facts, and tensors in their order."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for tensor in tensors:
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def copy_state(values: Tensor, token: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters and moments of a run, by name. values: (n,). token: one vector for each text encoder."""
    tensors = {"values": values.detach()}
    tensors |= {f"token.{place}": vector.detach() for place, vector in enumerate(token)}
    for index, parameter in enumerate([values, *token]):
        for key, moment in optimizer.state.get(parameter, {}).items():
            tensors[f"moments.{index}.{key}"] = moment
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def take_state(
    tensors: dict[str, Tensor], values: nn.Parameter, token: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Write what `copy_state` made into parameters and optimiser of a run that was built from the same inputs."""
    values.copy_(tensors["values"])
    for place, vector in enumerate(token):
        vector.copy_(tensors[f"token.{place}"])
    for index, parameter in enumerate([values, *token]):
        found = {name.split(".")[2]: t for name, t in tensors.items() if name.startswith(f"moments.{index}.")}
        if found:
            optimizer.state[parameter] = {
                key: moment if key == "step" else moment.to(parameter.device) for key, moment in found.items()
            }
