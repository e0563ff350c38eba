"""Pictures of a model's stage before: one that would be the same again is not painted again."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from benchmarks.continual.method import OnStep, Painter, no_steps
from cns.denoise import GenerationRequest
from cns.prompts import EncodedPrompt, encode_prompt


class Painted:
    """The pictures of the last call, by all that decides them: the UNet, the request, what it is handed of its prompts.

    Each stage is asked for all that the one before was, so one stage is enough to keep.

    A method that leaves a concept's prompts alone paints them once, one that moves them paints them after every
    concept. What is painted is the same to the last bits, which depend on who shares a batch.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def paint(
        self, painter: Painter, requests: Sequence[GenerationRequest], on_step: OnStep = no_steps
    ) -> list[Tensor]:
        """As `Painter.paint`, which is asked for what is new."""
        keys = _identify(painter, requests)
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in self._kept}
        made = dict(zip(new, painter.paint(list(new.values()), on_step=on_step), strict=True))
        self._kept = {key: made[key] if key in made else self._kept[key] for key in keys}
        return [self._kept[key] for key in keys]


def _identify(painter: Painter, requests: Sequence[GenerationRequest]) -> list[str]:
    read: dict[str, str] = {}

    def handed(prompt: str) -> str:
        if prompt not in read:
            read[prompt] = _digest(encode_prompt(painter.base, painter.version, prompt))
        return read[prompt]

    return [
        repr(
            (
                painter.base.id,
                replace(request, prompt="", negative_prompt=""),
                handed(painter.read(request.prompt)),
                handed(request.negative_prompt),
            )
        )
        for request in requests
    ]


def _digest(prompt: EncodedPrompt) -> str:
    digest = hashlib.sha256()
    binding = (prompt.binding.words, prompt.binding.hidden) if prompt.binding is not None else ()
    for layer, pair in [*prompt.kv.items(), ("binding", binding)]:
        for tensor in pair:
            digest.update(layer.encode() + tensor.cpu().numpy().tobytes())
    if prompt.pooled is not None:
        digest.update(prompt.pooled.cpu().numpy().tobytes())
    return digest.hexdigest()
