"""Learning one concept by low-rank changes and tokens of its own, what is kept of it, and painting with that."""

import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from benchmarks.continual.low_rank import Changes, LowRank, StoredChange, adapted, changed_weights, merged_weights
from benchmarks.continual.method import Budget, Cost, Lesson, OnStep, Painter, altered_base, no_steps, plain_version
from benchmarks.continual.textual_inversion import TOKEN_BYTES
from benchmarks.continual.training import Trainable, prepare_examples, train
from cns.base_model import BaseModel
from cns.text import TokenVectors


class Words(Protocol):
    """The tokens of one concept while they are trained. written_as: what stands for its words in captions."""

    @property
    def written_as(self) -> Mapping[str, str]: ...

    @property
    def parameters(self) -> Sequence[nn.Parameter]: ...

    def tokens(self) -> Mapping[str, TokenVectors]:
        """ "<rex>" -> its vectors, differentiable."""
        ...


class OneToken:
    """The concept's own token and nothing else, starting at `start`: one vector (width,) for each text encoder."""

    def __init__(self, lesson: Lesson, start: TokenVectors, device: torch.device, *, says_noun: bool = True):
        self._name = lesson.token
        self._vectors = tuple(nn.Parameter(vector.to(device)) for vector in start)
        self.written_as = {} if says_noun else {f"{lesson.token} {lesson.class_noun}": lesson.token}

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self._vectors)

    def tokens(self) -> dict[str, TokenVectors]:
        return {self._name: self._vectors}


@dataclass(frozen=True)
class Taught:
    """What is kept of a concept: its changes as they are stored, its tokens, and how prompts are read for it.

    called: what prompts call it, "<rex> dog". losses: the diffusion loss of each step of its learning.
    """

    called: str
    changes: Mapping[str, StoredChange]
    tokens: Mapping[str, TokenVectors]
    written_as: Mapping[str, str]
    cost: Cost
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Rates:
    """Learning rates of the low-rank changes and of the tokens."""

    weights: float
    token: float

    @classmethod
    def of(cls, options: Mapping[str, float]) -> "Rates":
        return cls(options["lr_weights"], options["lr_token"])


def concept_generator(seed: int, name: str) -> torch.Generator:
    """Random numbers of one concept: the same whenever it comes, others than another concept's."""
    return torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(name.encode()))


def learn_concept(
    base: BaseModel,
    lesson: Lesson,
    budget: Budget,
    adapters: Mapping[str, LowRank],
    words: Words,
    rates: Rates,
    *,
    weights: Callable[[], Mapping[str, Tensor]] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    on_step: OnStep = no_steps,
) -> Taught:
    """Train `adapters` and `words` in place on top of `base`, whose own values are only read.

    adapters: projection of the UNet -> its change. weights: all K/V weights with the changes in them; None for the
    base's own and these changes. penalty: see `Trainable`.
    """
    start = time.monotonic()
    read = replace(lesson, captions=tuple(_read(caption, words.written_as) for caption in lesson.captions))
    moved = [parameter for adapter in adapters.values() for parameter in adapter.parameters()]
    trainable = Trainable(
        groups=[(moved, rates.weights), (words.parameters, rates.token)],
        tokens=words.tokens,
        weights=weights or (lambda: changed_weights(base.kv_weights, adapters)),
        penalty=penalty,
    )
    outside = {name: adapter for name, adapter in adapters.items() if name not in base.kv_weights}
    with adapted(base.unet, outside):
        losses = train(base, prepare_examples(base, [read], budget), budget, trainable, on_step=on_step)
    tokens = {name: tuple(v.detach().float().clone() for v in vectors) for name, vectors in words.tokens().items()}
    changes = {name: adapter.store() for name, adapter in adapters.items()}
    kept = sum(change.kept_bytes for change in changes.values())
    cost = Cost(
        trained_parameters=trainable.size,
        stored_bytes=kept + TOKEN_BYTES * sum(parameter.numel() for parameter in words.parameters),
        seconds=time.monotonic() - start,
    )
    return Taught(f"{lesson.token} {lesson.class_noun}", changes, tokens, dict(words.written_as), cost, tuple(losses))


def _read(caption: str, written_as: Mapping[str, str]) -> str:
    for words, written in written_as.items():
        caption = caption.replace(words, written)
    return caption


def build_painter(
    base: BaseModel,
    taught: Sequence[Taught],
    changes: Changes,
    view: Callable[[BaseModel], BaseModel] = lambda base: base,
) -> Painter:
    """The base with `changes` in its UNet and the tokens of all that was `taught`. view: how that UNet's base reads."""
    altered = view(altered_base(base, merged_weights(base.unet, changes)))
    tokens = {name: vectors for one in taught for name, vectors in one.tokens.items()}
    written_as = {words: written for one in taught for words, written in one.written_as.items()}
    return Painter(altered, plain_version(altered, tokens), written_as)


@dataclass(frozen=True)
class Fused:
    """One set of changes for all concepts so far, and the bytes that had to be held to make it."""

    changes: Changes
    held_bytes: int


class FusedLearner(ABC):
    """Each concept is learned on the untouched base, as if it were the only one; then all so far are fused anew."""

    def __init__(self, base: BaseModel, budget: Budget, options: Mapping[str, float]):
        self.base, self.budget, self.options = base, budget, options
        self.taught: list[Taught] = []
        self._changes: Changes = {}

    @abstractmethod
    def teach(self, lesson: Lesson, on_step: OnStep) -> Taught:
        """One concept alone."""

    @abstractmethod
    def fuse(self) -> Fused:
        """All that was taught so far."""

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        self.taught.append(self.teach(lesson, on_step))
        start = time.monotonic()
        fused = self.fuse()
        self._changes = fused.changes
        cost = self.taught[-1].cost
        return replace(cost, fuse_seconds=time.monotonic() - start, fuse_bytes=fused.held_bytes)

    def painter(self) -> Painter:
        return build_painter(self.base, self.taught, self._changes, self.view)

    def view(self, base: BaseModel) -> BaseModel:
        """How a base with this method's changes reads prompts; as any other, unless a method has words of its own."""
        return base


def held_bytes(taught: Sequence[Taught], changes: Changes) -> int:
    """Bytes held to add up what was taught: all that is stored of it, and the sum."""
    return sum(one.cost.stored_bytes for one in taught) + sum(change.nbytes for change in changes.values())
