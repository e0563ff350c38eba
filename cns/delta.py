"""What one learning changed: the selected positions, their values, the concept's own token. One .safetensors file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from cns.errors import DamagedDelta, ForeignFile, WrongBase
from cns.positions import decode_mask, decode_positions, encode_positions
from cns.settings import Reach
from cns.text import TOKEN, TokenVectors

FORMAT = "palimpsest-delta-4"
_POSITIONS = {
    "palimpsest-delta-1": ("mask", decode_mask),
    "palimpsest-delta-2": ("positions", decode_positions),  # as now, but that all values reach everywhere
    "palimpsest-delta-3": ("positions", decode_positions),  # as now, but that all pictures are guided all the way
    FORMAT: ("positions", decode_positions),
}
"""Every format there ever was -> what its tensors of positions are called, and how they are read."""
_WITH_REACH = ("palimpsest-delta-3", FORMAT)
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
    reach: where the values apply: "everywhere", as part of the weights, or at the concept's own "token" alone.
    guided: share of the noise levels, from the noisiest on, in which pictures that name the concept are guided; above 0
    and up to 1, which is all of them (`cns.pull`).
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
    reach: Reach = "everywhere"
    guided: float = 1.0

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
        """The file's bytes: the same content gives the same bytes. Of a delta that was read: those that were read."""
        tensors: dict[str, Tensor] = {}
        for layer in sorted(self.positions):
            rows, columns = self.shapes[layer]
            code = encode_positions(self.positions[layer].cpu().numpy(), rows * columns)
            tensors[f"positions.{layer}"] = torch.from_numpy(code)
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
            "reach": self.reach,
            "guided": self.guided,
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        # One metadata key: the order of several is not promised by the format, and the bytes must be.
        return save(tensors, metadata={"palimpsest": _sealed(text, tensors)})

    def to_bytes(self) -> bytes:
        """The delta as one .safetensors file; equal content gives equal bytes and so an equal digest.

        A delta that was read from a file is that file, whatever its format: histories know it by its digest. Made
        anew, as by `dataclasses.replace`, it is written in the newest format. Raises ValueError for positions that are
        not ascending or lie outside of their layer.
        """
        return self.data

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits: the name of this state."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, *, base_id: str | None = None) -> "Delta":
        """Read a delta, of this format or an earlier one, whole or not at all. Takes memory in proportion to the file.

        Raises ForeignFile for a file that is no delta, DamagedDelta for one whose content does not match its seal or
        is not what a delta has, and WrongBase when `base_id` is given and is not the base it was learned on.
        """
        facts, tensors = _open(data)
        if base_id is not None and facts["base_id"] != base_id:
            raise WrongBase(
                f"This delta of {facts['concept']!r} was learned on another base model ({facts['base_id'][:12]}), "
                f"not on this one ({base_id[:12]})."
            )
        positions, values, shapes = {}, {}, {}
        for layer, (rows, columns) in facts["shapes"].items():
            positions[layer], values[layer] = _read_layer(facts["format"], tensors, layer, rows * columns)
            shapes[layer] = (rows, columns)
        vectors = tuple(tensors[name] for name in sorted(tensors) if name.startswith("token."))
        if not vectors or not all(_is_finite(vector, torch.float32) for vector in vectors):
            raise DamagedDelta("This delta is damaged: its token has no usable vector.")
        read = cls(
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
            facts["reach"] if facts["format"] in _WITH_REACH else "everywhere",
            facts["guided"] if facts["format"] == FORMAT else 1.0,
        )
        # Its name is the digest of these very bytes, and what was learned on top of it has that name as its parent.
        object.__setattr__(read, "data", data)
        return read


def _read_layer(form: str, tensors: Mapping[str, Tensor], layer: str, entries: int) -> tuple[Tensor, Tensor]:
    """Positions (n,) int64 and values (n,) float16 of a layer with so many entries; DamagedDelta if they are not so."""
    prefix, decode = _POSITIONS[form]
    code, kept = tensors.get(f"{prefix}.{layer}"), tensors.get(f"values.{layer}")
    if code is None or kept is None:
        raise DamagedDelta(f"This delta is damaged: layer {layer} is incomplete.")
    if code.dtype != torch.uint8 or code.ndim != 1 or not _is_finite(kept, torch.float16):
        raise DamagedDelta(f"This delta is damaged: the values of layer {layer} do not fit what a delta has.")
    try:
        where = decode(code.numpy(), entries, len(kept))
    except ValueError as error:
        raise DamagedDelta(f"This delta is damaged: in layer {layer}, {error}.") from error
    return torch.from_numpy(where), kept


def _is_finite(vector: Tensor, dtype: torch.dtype) -> bool:
    return vector.dtype == dtype and vector.ndim == 1 and bool(np.isfinite(vector.numpy()).all())


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
    except (ValueError, AttributeError, RecursionError) as error:
        raise ForeignFile("This file is not a delta: it is not a safetensors file, or it is cut short.") from error
    if not isinstance(sealed, str):
        raise ForeignFile("This file is a safetensors file, but not a delta of this program.")
    seal, _, text = sealed.partition(" ")
    try:
        tensors = load(data)
        facts = json.loads(text)
        found = _seal(text, tensors)
    except Exception as error:  # the reader raises its own types, and none of what it refused may be used
        raise DamagedDelta("This delta is damaged: its content cannot be read.") from error
    if seal != found:
        raise DamagedDelta("This delta is damaged: its content does not match its checksum.")
    if not isinstance(facts, dict) or facts.get("format") not in [*_POSITIONS]:
        raise ForeignFile("This delta was written in a format that this version does not know.")
    if not _are_facts(facts):
        raise DamagedDelta("This delta is damaged: what it says of itself is not what a delta says.")
    return facts, tensors


def _are_facts(facts: Mapping[str, Any]) -> bool:
    """Whether what `Delta.data` says is all there, each of its kind: the file may come from anybody."""
    named = all(isinstance(facts.get(name), str) for name in ("concept", "class_noun", "base_id"))
    told = all(isinstance(facts.get(name), dict) for name in ("shapes", "settings", "report"))
    if not named or not told or not isinstance(facts.get("parent"), str | None):
        return False
    if not TOKEN.fullmatch(f"<{facts['concept']}>"):  # it becomes part of files' names
        return False
    captions, selection = facts["report"].get("captions", []), facts["settings"].get("selection", {})
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        return False
    if not isinstance(selection, dict):
        return False
    if facts["format"] in _WITH_REACH and facts.get("reach") not in [*get_args(Reach)]:
        return False
    if facts["format"] == FORMAT and not (type(facts.get("guided")) in (int, float) and 0 < facts["guided"] <= 1):
        return False
    return all(
        isinstance(shape, list) and len(shape) == 2 and all(type(side) is int and side > 0 for side in shape)
        for shape in facts["shapes"].values()
    )
