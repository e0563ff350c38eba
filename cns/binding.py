"""In a picture of several concepts, each place reads the token of one of them only.

A concept's values apply where its token stands in the prompt (`cns.at_tokens`), but every place of the picture attends
to the whole prompt, so two individuals of one picture take on each other's looks. Here each place belongs to the
concept whose class noun it attends to more, and does not see the tokens of the others (docs/decisions/0024). All other
words are read everywhere as before, so the layout of the picture is theirs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cns.text import TOKEN
from cns.wording import find_frame


@dataclass(frozen=True, eq=False)
class Binding:
    """What a prompt of `n` concepts binds; n is at least 2.

    words: (n, tokens) float, in each row the shares by which positions say where the concept belongs, summing to 1.
    hidden: (n, tokens) bool, in each row the positions that places of this concept do not see: the others' tokens.
    """

    words: Tensor
    hidden: Tensor


def find_binding(
    tokenizer: Any, prompt: str, placed: Sequence[tuple[int, int, str]], nouns: Mapping[str, str], length: int
) -> Binding | None:
    """What `prompt` binds: the tokens of `nouns`, where two concepts or more that stand somewhere are named; else None.

    placed: as in `TextFeatures`, of this prompt alone. nouns: "<rex>" -> its class noun, of the concepts that may be
    bound. length: positions of an encoded prompt. Bound are concepts whose class noun follows their token, as it says
    where they are; two words may stand between, as in "<rex> big brown dog".
    """
    tokens: dict[str, list[int]] = {}
    words: dict[str, list[int]] = {}
    pieces, named = re.split(f"({TOKEN.pattern})", prompt)[1:], {name for _, _, name in placed}
    found = [(token, behind) for token, behind in zip(pieces[::2], pieces[1::2], strict=True) if token in named]
    # Of a prompt that was cut the last tokens are missing among those that are placed.
    for (token, behind), (_, position, _) in zip(found, placed, strict=False):
        count = _pieces_until(tokenizer, nouns[token], behind) if token in nouns else 0
        if count and position + count < length - 1 and find_frame(nouns[token]) is None:
            tokens.setdefault(token, []).append(position)
            words.setdefault(token, []).append(position + count)
    if len(tokens) < 2:
        return None
    own = torch.zeros(len(tokens), length, dtype=torch.bool)
    shares = torch.zeros(len(tokens), length)
    for row, token in enumerate(tokens):
        own[row, tokens[token]] = True
        for word in words[token]:
            shares[row, word] += 1 / len(words[token])
    return Binding(shares, own.any(dim=0) & ~own)


def _pieces_until(tokenizer: Any, noun: str, text: str) -> int:
    """How many of the tokenizer's pieces `text` has up to the end of `noun`, 0 where it does not begin with it."""
    found = re.match(rf"\s*(?:[\w'-]+\s+){{0,2}}?{re.escape(noun)}\b", text, re.IGNORECASE)
    return len(tokenizer(text[: found.end()], add_special_tokens=False, verbose=False).input_ids) if found else 0


@dataclass(frozen=True, eq=False)
class BoundRows:
    """What the prompts of some rows of a batch bind, side by side.

    rows: (r,) int64, which rows. words: (r, n, tokens), hidden: (r, n, tokens), as in `Binding`; n is the most concepts
    that one of them binds, and `there` (r, n) says which of these a row has.
    """

    rows: Tensor
    words: Tensor
    hidden: Tensor
    there: Tensor


def join_bindings(bindings: Mapping[int, Binding], like: Tensor) -> BoundRows | None:
    """Row of a batch -> what its prompt binds, as one, of the type and in the place of `like`; None for no rows."""
    if not bindings:
        return None
    counts = torch.tensor([len(binding.words) for binding in bindings.values()])
    most, length = int(counts.max()), next(iter(bindings.values())).words.shape[1]
    words = torch.zeros(len(bindings), most, length)
    hidden = torch.zeros(len(bindings), most, length, dtype=torch.bool)
    for place, binding in enumerate(bindings.values()):
        words[place, : len(binding.words)], hidden[place, : len(binding.hidden)] = binding.words, binding.hidden
    return BoundRows(
        torch.tensor(list(bindings)).to(like.device),
        words.to(like),
        hidden.to(like.device),
        (torch.arange(most) < counts[:, None]).to(like.device),
    )


def seen_tokens(query: Tensor, key: Tensor, bound: BoundRows) -> Tensor:
    """Which positions of its prompt each place of the picture sees.

    query    (r, places, width): of the bound rows, all heads side by side
    key      (r, tokens, width)
    returns  (r, places, tokens) bool

    The sum over all heads of how well a place's query meets the key of each concept's noun decides. The softmax is not
    needed for that, as all of them share its denominator in a head, and the fused kernels do not give it.
    """
    small = query * query.shape[-1] ** -0.5  # a sum over so many would not fit into half precision
    scores = small @ (bound.words @ key).transpose(-1, -2)  # (r, places, n)
    owners = scores.masked_fill(~bound.there[:, None], -torch.inf).argmax(dim=-1)  # (r, places)
    rows = torch.arange(len(owners), device=owners.device)[:, None]
    return ~bound.hidden[rows, owners]
