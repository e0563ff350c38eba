"""Series of pictures with fixed prompts and seeds under several versions, none of them made twice.

Comparing two versions means making the same series under both. What was made for one comparison often serves the next:
the base's pictures serve every one, and a version's own pictures are "before" once the next concept is learned.
"""

import hashlib
import json
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version
from cns.denoise import GenerationRequest, generate

MadePictures = MutableMapping[str, Tensor]
"""Name of a picture, from `picture_key` -> its pixels (3, height, width), float32 in 0..1. Any mapping will do."""


@dataclass(frozen=True)
class Series:
    """The same requests can be asked of any version; the pictures come in the order of the requests."""

    version: Version
    requests: tuple[GenerationRequest, ...]


def picture_key(base: BaseModel, version: Version, request: GenerationRequest) -> str:
    """SHA-256 (64 hex digits) of what a picture depends on: base, deltas in order, request, precision, device.

    A base's id says nothing of its autoencoder, noise schedule and tokenizers: pictures are not to be shared between
    bases that differ in these alone.
    """
    facts = [
        base.id,
        [delta.digest for delta in version.deltas],
        asdict(request),
        str(base.dtype),
        base.device.type,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def make_series(
    base: BaseModel,
    series: Sequence[Series],
    *,
    batch: int = 16,
    made: MadePictures | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """The pictures of each series, (n, 3, height, width) float32 in 0..1 each; every one of one size.

    Series of one version are made together. made: pictures already there; those made now are added to it.
    on_step(done, total) counts the steps of the pictures that had to be made.
    """
    made = {} if made is None else made
    here: dict[str, Tensor] = {}  # what this call needs: `made` may forget some of it before the last is made
    wanted: dict[tuple[str, ...], tuple[Version, dict[str, GenerationRequest]]] = {}
    keys = [[picture_key(base, one.version, request) for request in one.requests] for one in series]
    for one, names in zip(series, keys, strict=True):
        digests = tuple(delta.digest for delta in one.version.deltas)
        _, missing = wanted.setdefault(digests, (one.version, {}))
        here.update({name: made[name] for name in names if name in made})
        missing.update({name: request for name, request in zip(names, one.requests, strict=True) if name not in here})
    total = sum(request.steps for _, missing in wanted.values() for request in missing.values())
    done = 0
    for version, missing in wanted.values():
        if missing:
            report = None if on_step is None else counted_on(on_step, done, total)
            pictures = generate(base, version, list(missing.values()), batch=batch, on_step=report)
            here.update(zip(missing, pictures, strict=True))
            made.update(zip(missing, pictures, strict=True))
            done += sum(request.steps for request in missing.values())
    return [torch.stack([here[name] for name in names]) for names in keys]


def counted_on(on_step: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    """Counts on from `before` and against the whole, whatever part is being made."""
    return lambda done, _: on_step(before + done, total)
