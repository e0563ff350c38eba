"""The judge: a small network that tells individuals apart and names what a picture shows. Its verdicts are no part of
what it judges.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from storybook.attributes import HEADS

WIDTHS = (32, 64, 96, 128)
EMBEDDING = 128


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class IndividualsEncoder(nn.Module):
    """64 px pictures -> an embedding of who is in it, and one read-out per attribute that a caption can name."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 3, padding=1)]
        for before, width in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, width, 3, padding=1, stride=2), Residual(width)]
        self.trunk = nn.Sequential(*layers, nn.GroupNorm(4, WIDTHS[-1]), nn.SiLU(), nn.Conv2d(WIDTHS[-1], 64, 1))
        flat = 64 * 16  # 4 x 4 positions, kept apart: left and right are different questions
        self.identity = nn.Sequential(nn.Linear(flat, 384), nn.SiLU(), nn.Linear(384, EMBEDDING))
        self.named = nn.Sequential(nn.Linear(flat, 384), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(384, classes) for name, classes in HEADS.items()})

    def forward(self, pixels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """pixels (n, 3, 64, 64) in -1..1 -> embedding (n, 128) not normalised, logits per attribute."""
        flat = self.trunk(pixels).flatten(1)
        named = self.named(flat)
        return self.identity(flat), {name: head(named) for name, head in self.heads.items()}

    @torch.no_grad()
    def identify(self, pixels: Tensor) -> Tensor:
        """(n, 3, 64, 64) in -1..1 -> (n, 128) float32 of unit length; cosine similarity says how much the same
        individual.
        """
        return normalize(self(pixels)[0].float())

    @torch.no_grad()
    def name(self, pixels: Tensor) -> Tensor:
        """(n, 3, 64, 64) in -1..1 -> (n, 9) int64 class numbers, columns as in `HEADS`."""
        return torch.stack([logits.argmax(1) for logits in self(pixels)[1].values()], dim=1)


def save_encoder(encoder: IndividualsEncoder, folder: Path, facts: dict[str, float]) -> None:
    """Write half-precision weights and what was measured of them."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().half().contiguous().cpu() for name, tensor in encoder.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"facts": json.dumps(facts, sort_keys=True)})


def load_encoder(folder: Path) -> tuple[IndividualsEncoder, dict[str, float]]:
    """The judge in float32 and the accuracies measured on real renders when it was trained."""
    path = folder / "model.safetensors"
    encoder = IndividualsEncoder()
    encoder.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    return encoder.eval().requires_grad_(False), facts
