"""Text features of prompts in which <tokens> carry vectors that the caller brings.

The tokenizer is never taught a new word and the embedding table never gets a new row: a <token> takes one position of
the prompt, and its vector is laid over the embedding of that position while the encoder runs. So any number of callers
may own a <rex> at the same time, each their own. A <token> that the tokenizer knows already, as that of an exported
folder does, is a word as any other, until a caller brings one of that name.
"""

import re
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cns.errors import BaseModelError, UnknownToken

TokenVectors = tuple[Tensor, ...]
"""One embedding vector (width,) float32 per text encoder: one for Stable Diffusion 1.x and 2.x, two for SDXL."""

TOKEN = re.compile(r"<[A-Za-z0-9_-]+>")


@dataclass(frozen=True)
class TextFeatures:
    """What the UNet reads of a batch of prompts.

    hidden: (batch, tokens, width) in the encoders' dtype; SDXL has both encoders' penultimate states side by side.
    own: (batch, tokens) bool, the prompt's own tokens: neither start-of-text, nor end-of-text, nor padding.
    pooled: (batch, pooled width), the projection of the second encoder; SDXL only.
    placed: where <token>s stand: prompt of the batch, position, "<rex>".
    """

    hidden: Tensor
    own: Tensor
    pooled: Tensor | None
    placed: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True)
class TokenizedPrompts:
    """Prompts as numbers, and where their <token>s stand."""

    ids: Tensor  # (batch, tokens) int64
    own: Tensor  # (batch, tokens) bool, as in TextFeatures
    attended: Tensor  # (batch, tokens) int64: 0 on padding, 1 elsewhere
    placed: tuple[tuple[int, int, str], ...]  # row, position, <token>


def is_text(written: str) -> bool:
    """Whether it holds characters alone: half of a pair, a lone surrogate, is none, and tokenizers take no such."""
    try:
        written.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_token(prompt: str, token: str) -> str:
    """The prompt with its concept left out: "a <rex> dog on the grass" -> "a dog on the grass"."""
    return re.sub(rf"{re.escape(token)}\s*", "", prompt)


def without_strangers(prompt: str, known: Container[str]) -> str:
    """The prompt without any <token> that is not `known`, as `without_token` leaves it out."""
    return re.sub(rf"({TOKEN.pattern})\s*", lambda found: found[0] if found[1] in known else "", prompt)


def as_any(prompt: str, token: str, class_noun: str) -> str:
    """The prompt about any thing of the noun: "a <rex> dog on the grass" and "a <rex> on the grass" -> "a dog on the
    grass"."""
    return re.sub(f"{re.escape(token)}( {re.escape(class_noun)})?", lambda _: class_noun, prompt)


def known_tokens(tokenizers: Sequence[Any]) -> frozenset[str]:
    """The <token>s that each of these tokenizers was taught as words, such as "<rex>"."""
    taught = frozenset.intersection(*(frozenset(tokenizer.get_added_vocab()) for tokenizer in tokenizers))
    return frozenset(word for word in taught if TOKEN.fullmatch(word))


def check_tokens(
    prompts: Sequence[str], tokens: Mapping[str, TokenVectors], widths: Sequence[int], words: Collection[str] = ()
) -> None:
    """Raise UnknownToken for a <token> without vectors, BaseModelError for vectors that do not fit these encoders.

    words: <token>s that the encoders know as they know words.
    """
    for prompt in prompts:
        for name in TOKEN.findall(prompt):
            if name not in tokens and name not in words:
                known = ", ".join(sorted({*tokens, *words})) or "none yet"
                raise UnknownToken(f"The prompt names {name}, which has not been learned here; known tokens: {known}.")
    for name, vectors in tokens.items():
        if [tuple(vector.shape) for vector in vectors] != [(width,) for width in widths]:
            found = ", ".join("x".join(map(str, vector.shape)) for vector in vectors)
            raise BaseModelError(
                f"The vectors of {name} have the sizes {found}; this base model needs {', '.join(map(str, widths))}."
            )


def tokenize(tokenizer: Any, prompts: Sequence[str], length: int, words: Container[str] = ()) -> TokenizedPrompts:
    """Start-of-text, the prompt, end-of-text and padding, cut or filled to `length` positions.

    A <token> becomes the start-of-text id, whose embedding is replaced later. That id is known to every tokenizer and
    is never taken for end-of-text, where the pooled state is read. words: <token>s that keep the tokenizer's own id.
    """
    rows, owns, attended = [], [], []
    placed: list[tuple[int, int, str]] = []
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    for row, prompt in enumerate(prompts):
        ids, names = _split(tokenizer, prompt, words)
        ids, names = ids[: length - 2], names[: length - 2]
        placed += [(row, position + 1, name) for position, name in enumerate(names) if name]
        padding = length - 2 - len(ids)
        rows.append([tokenizer.bos_token_id, *ids, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * padding])
        own = [name is not None or number not in special for number, name in zip(ids, names)]
        owns.append([False, *own, False, *[False] * padding])
        attended.append([1] * (len(ids) + 2) + [0] * padding)
    return TokenizedPrompts(torch.tensor(rows), torch.tensor(owns), torch.tensor(attended), tuple(placed))


def _split(tokenizer: Any, prompt: str, words: Container[str]) -> tuple[list[int], list[str | None]]:
    """The ids of a prompt's tokens without start and end, and beside each the <token> that stands there, or None."""
    ids: list[int] = []
    names: list[str | None] = []
    for piece in re.split(f"({TOKEN.pattern})", prompt):
        if TOKEN.fullmatch(piece) and piece not in words:
            ids.append(tokenizer.bos_token_id)
            names.append(piece)
        elif piece.strip():
            # verbose=False: a prompt over the tokenizer's length is cut by us, and needs no warning.
            found = tokenizer(piece, add_special_tokens=False, verbose=False).input_ids
            ids += found
            names += [None] * len(found)
    return ids, names


@contextmanager
def laid_over(
    embedding: nn.Module, placed: Sequence[tuple[int, int, str]], vectors: Mapping[str, Tensor]
) -> Iterator[None]:
    """While the block runs, `embedding` gives each placed <token> its vector (width,), with gradients flowing to it."""
    if not placed:
        yield
        return
    rows, positions, names = zip(*placed)

    def replace(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        stacked = torch.stack([vectors[name] for name in names]).to(output)  # (placed, width)
        where = (torch.tensor(rows, device=output.device), torch.tensor(positions, device=output.device))
        return output.index_put(where, stacked)

    handle = embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def encode(
    encoder: Any, prompts: TokenizedPrompts, vectors: Mapping[str, Tensor], penultimate: bool
) -> tuple[Tensor, Any]:
    """Hidden states (batch, tokens, width) of one encoder, and its whole output.

    penultimate: the states before the last layer, without the final norm, as SDXL reads them; else the last ones.
    """
    device = encoder.device
    # A few encoders ask in their configuration that padding be hidden from the prompt's tokens.
    mask = prompts.attended.to(device) if getattr(encoder.config, "use_attention_mask", False) else None
    with laid_over(encoder.get_input_embeddings(), prompts.placed, vectors):
        output = encoder(prompts.ids.to(device), attention_mask=mask, output_hidden_states=penultimate)
    return (output.hidden_states[-2] if penultimate else output.last_hidden_state), output
