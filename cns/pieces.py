"""Work that is done in pieces, so that no more is held than one of them needs."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch

from cns.base_model import BaseModel
from cns.text import TextFeatures, TokenVectors

PROMPTS, PICTURES = 8, 2
"""What is encoded at once at least: of smaller batches a library of matrix products may round the sums otherwise."""


def split_evenly(count: int, least: int) -> list[slice]:
    """`count` things in as many pieces as have `least` each, or in one; none is more than one longer than another."""
    pieces = max(1, count // least)
    ends = [count * place // pieces for place in range(pieces + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]


def encode_prompts(base: BaseModel, prompts: Sequence[str], tokens: Mapping[str, TokenVectors]) -> TextFeatures:
    """`BaseModel.text_features` of any number of prompts, without gradients."""
    pieces = split_evenly(len(prompts), PROMPTS)
    with torch.no_grad():
        parts = [base.text_features(prompts[piece], tokens) for piece in pieces]
    pooled = [part.pooled for part in parts if part.pooled is not None]
    placed = [
        (piece.start + row, position, name)
        for piece, part in zip(pieces, parts, strict=True)
        for row, position, name in part.placed
    ]
    return TextFeatures(
        torch.cat([part.hidden for part in parts]),
        torch.cat([part.own for part in parts]),
        torch.cat(pooled) if pooled else None,
        tuple(placed),
    )


def encode_squares(base: BaseModel, pixels: torch.Tensor) -> torch.Tensor:
    """`BaseModel.encode_images` of any number of pictures (n, 3, side, side)."""
    return torch.cat([base.encode_images(pixels[piece]) for piece in split_evenly(len(pixels), PICTURES)])
