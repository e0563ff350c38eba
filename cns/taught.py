"""What concepts that reach everywhere were taught with, as one matrix that grows with their line."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.delta import Delta
from cns.losses import feature_moment
from cns.pieces import encode_prompts
from cns.text import TokenVectors, without_strangers


@dataclass
class TaughtMoment:
    """Second moment of the text features of what the first `concepts` deltas of a line were taught with, of those among
    them that reach everywhere.

    Made by the first learning that needs it. A version hands what it has to those that are made of it, so that learning
    on the hundredth concept encodes that concept's prompts and not those of all hundred.

    prompts: how many there are. total: (in, in) float32, sum over them; never written in place, as versions share it.
    """

    concepts: int = 0
    prompts: int = 0
    total: Tensor | None = None

    @torch.no_grad()
    def grow(self, base: BaseModel, deltas: Sequence[Delta], tokens: Mapping[str, TokenVectors]) -> Tensor:
        """The mean over the prompts of all of `deltas` that reach everywhere, (in, in) float32; those that it has not
        seen are encoded.

        deltas: the whole line, which begins with those that were seen, and in which one at least reaches everywhere.
        tokens: of all of them. Each is encoded by itself, with the tokens of its time, so that the sum is the same to
        the bit wherever it was begun.
        """
        for delta, prompts in islice(prompts_of(deltas), self.concepts, None):
            if delta.reach == "everywhere":
                hidden = encode_prompts(base, prompts, tokens).hidden
                part = feature_moment(hidden) * len(hidden)
                self.total = part if self.total is None else self.total + part
                self.prompts += len(hidden)
            self.concepts += 1  # last: whoever fails before, as for want of memory, begins with this concept again
        if self.total is None:
            raise ValueError("A line without concepts was taught with nothing.")
        return self.total / self.prompts


def prompts_of(deltas: Sequence[Delta]) -> Iterator[tuple[Delta, tuple[str, ...]]]:
    """Each delta of a line with what its concept was taught with, and its plain name: after other words it is not the
    same features.

    A caption may name a concept that the line has forgotten since, and perhaps learned anew as something else: whoever
    does not stand below in the line is left out of it.
    """
    known: set[str] = set()
    for delta in deltas:
        known.add(delta.token)
        yield delta, _taught_with(delta, known)


def _taught_with(delta: Delta, known: Container[str]) -> tuple[str, ...]:
    captions = [without_strangers(caption, known) for caption in delta.report.get("captions", ())]
    return tuple(dict.fromkeys([f"a photo of a {delta.token} {delta.class_noun}", *captions]))
