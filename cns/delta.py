"""What one learning changed: the selected positions, their values, the concept's own token. One .safetensors file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from cns.errors import DamagedDelta, ForeignFile, WrongBase
from cns.text import TokenVectors

FORMAT = "palimpsest-delta-1"
_HEADER_LIMIT_BYTES = 16_000_000


@dataclass(frozen=True)
class Delta:
    """The values that a concept's learning gave to its neurons. Values are stored, not differences: composing is exact.

    concept, class_noun: "rex", "dog"; the token of the concept is "<rex>".
    base_id: the base model it belongs to. parent: digest of the delta it was learned on top of, None on the bare base.
    positions: layer -> (n,) int64 flat indices into the layer's (out, in) weight, ascending; untouched layers absent.
    values: layer -> (n,) float16, what stands at those positions.
    shapes: layer -> (out, in) of every layer of the base that has entries here.
    token_vectors: one (width,) float32 vector per text encoder.
    settings, report: JSON; nothing in them differs between two equal runs (no times, no machine).
    """

    concept: str
    class_noun: str
    base_id: str
    parent: str | None
    positions: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, int]]
    token_vectors: TokenVectors
    settings: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """How prompts name the concept: "<rex>"."""
        return f"<{self.concept}>"

    @property
    def size(self) -> int:
        """How many values it changes."""
        return sum(len(where) for where in self.positions.values())

    @cached_property
    def data(self) -> bytes:
        """The file's bytes: the same content gives the same bytes."""
        tensors: dict[str, Tensor] = {}
        for layer in sorted(self.positions):
            mask = np.zeros(self.shapes[layer][0] * self.shapes[layer][1], dtype=bool)
            mask[self.positions[layer].cpu().numpy()] = True
            tensors[f"mask.{layer}"] = torch.from_numpy(np.packbits(mask))
            tensors[f"values.{layer}"] = self.values[layer].detach().to("cpu", torch.float16).contiguous()
        for place, vector in enumerate(self.token_vectors):
            tensors[f"token.{place}"] = vector.detach().to("cpu", torch.float32).contiguous()
        facts = {
            "format": FORMAT,
            "concept": self.concept,
            "class_noun": self.class_noun,
            "base_id": self.base_id,
            "parent": self.parent,
            "shapes": {layer: list(self.shapes[layer]) for layer in sorted(self.positions)},
            "settings": dict(self.settings),
            "report": dict(self.report),
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        # One metadata key: the order of several is not promised by the format, and the bytes must be.
        return save(tensors, metadata={"palimpsest": _sealed(text, tensors)})

    def to_bytes(self) -> bytes:
        """The delta as one .safetensors file; equal content gives equal bytes and so an equal digest."""
        return self.data

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits: the name of this state."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, *, base_id: str | None = None) -> "Delta":
        """Read a delta whole or not at all.

        Raises ForeignFile for a file that is no delta, DamagedDelta for one whose content does not match its seal, and
        WrongBase when `base_id` is given and is not the base it was learned on.
        """
        facts, tensors = _open(data)
        if base_id is not None and facts["base_id"] != base_id:
            raise WrongBase(
                f"This delta of {facts['concept']!r} was learned on another base model ({facts['base_id'][:12]}), "
                f"not on this one ({base_id[:12]})."
            )
        positions, values, shapes = {}, {}, {}
        for layer, (rows, columns) in facts["shapes"].items():
            mask, kept = tensors.get(f"mask.{layer}"), tensors.get(f"values.{layer}")
            if mask is None or kept is None or len(mask) != -(-rows * columns // 8):
                raise DamagedDelta(f"This delta is damaged: layer {layer} is incomplete.")
            where = np.unpackbits(mask.numpy(), count=rows * columns).nonzero()[0]
            if len(where) != len(kept) or not np.isfinite(kept.numpy()).all():
                raise DamagedDelta(f"This delta is damaged: the values of layer {layer} do not fit their mask.")
            positions[layer], values[layer], shapes[layer] = torch.from_numpy(where), kept, (rows, columns)
        vectors = tuple(tensors[name] for name in sorted(tensors) if name.startswith("token."))
        if not vectors or not all(bool(torch.isfinite(vector).all()) for vector in vectors):
            raise DamagedDelta("This delta is damaged: its token has no usable vector.")
        return cls(
            facts["concept"],
            facts["class_noun"],
            facts["base_id"],
            facts["parent"],
            MappingProxyType(positions),
            MappingProxyType(values),
            MappingProxyType(shapes),
            vectors,
            facts["settings"],
            facts["report"],
        )


def _seal(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the facts and every tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _sealed(text: str, tensors: Mapping[str, Tensor]) -> str:
    return f"{_seal(text, tensors)} {text}"


def _open(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and tensors of a delta file whose seal holds."""
    try:
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > min(len(data) - 8, _HEADER_LIMIT_BYTES):
            raise ValueError("header longer than the file")
        header = json.loads(data[8 : 8 + length])
        sealed = header.get("__metadata__", {}).get("palimpsest")
    except (ValueError, AttributeError) as error:
        raise ForeignFile("This file is not a delta: it is not a safetensors file, or it is cut short.") from error
    if not isinstance(sealed, str):
        raise ForeignFile("This file is a safetensors file, but not a delta of this program.")
    seal, _, text = sealed.partition(" ")
    try:
        tensors = load(data)
        facts = json.loads(text)
    except Exception as error:  # the reader raises its own types, and none of what it refused may be used
        raise DamagedDelta("This delta is damaged: its content cannot be read.") from error
    if seal != _seal(text, tensors):
        raise DamagedDelta("This delta is damaged: its content does not match its checksum.")
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ForeignFile("This delta was written in a format that this version does not know.")
    return facts, tensors
