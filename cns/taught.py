"""What concepts that reach everywhere were taught with, as one matrix that grows with their line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.delta import Delta
from cns.losses import feature_moment
from cns.pieces import encode_prompts
from cns.text import TokenVectors


@dataclass
class TaughtMoment:
    """Second moment of the text features of what the first `concepts` deltas of a line were taught with.

    Made by the first learning that needs it. A version hands what it has to those that are made of it, so that learning
    on the hundredth concept encodes that concept's prompts and not those of all hundred.

    prompts: how many there are. total: (in, in) float32, sum over them; never written in place, as versions share it.
    """

    concepts: int = 0
    prompts: int = 0
    total: Tensor | None = None

    @torch.no_grad()
    def grow(self, base: BaseModel, deltas: Sequence[Delta], tokens: Mapping[str, TokenVectors]) -> Tensor:
        """The mean over the prompts of all of `deltas`, (in, in) float32; those that it has not seen are encoded.

        deltas: the line, which begins with those that were seen, and has one at least. tokens: of all of them. Each is
        encoded by itself, with the tokens of its time, so that the sum is the same to the bit wherever it was begun.
        """
        known = {delta.token: tokens[delta.token] for delta in deltas[: self.concepts]}
        for delta in deltas[self.concepts :]:
            known[delta.token] = tokens[delta.token]
            hidden = encode_prompts(base, prompts_of(delta), known).hidden
            part = feature_moment(hidden) * len(hidden)
            self.total = part if self.total is None else self.total + part
            self.prompts += len(hidden)
            self.concepts += 1
        if self.total is None:
            raise ValueError("A line without concepts was taught with nothing.")
        return self.total / self.prompts


def prompts_of(delta: Delta) -> tuple[str, ...]:
    """What an earlier concept was taught with, and its plain name: after other words it is not the same features."""
    name = f"a photo of a <{delta.concept}> {delta.class_noun}"
    return tuple(dict.fromkeys([name, *delta.report.get("captions", ())]))
