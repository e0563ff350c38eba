"""What the benchmark asks of a method: take lessons in the order of the stream, and paint with what it then is.

Whatever a method does, it ends as a base (the shared one, or a copy whose UNet it altered) and a version (weights of
keys and values, and a vector for each token), so all of them paint through the same sampler.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol

from PIL import Image
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version
from cns.denoise import GenerationRequest, generate
from cns.identity import base_id
from cns.settings import LearningSettings

Kind = Literal["sequential", "fused", "joint", "bound"]
"""sequential: each concept is learned on top of the last. fused: each is learned on the base, then all are merged.
joint: all concepts at once, as if they had never come one by one. bound: the base alone, what nothing learned gives.
"""

OnStep = Callable[[int, int], None]
"""on_step(done, total), counted in optimiser steps of the lesson or lessons at hand."""


def no_steps(done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Lesson:
    """One concept of a stream, as every method gets it.

    pictures: those to learn from, RGB. captions: one for each, with "<name> noun" in them; a prior's pictures of the
    class have captions without the token, which `cns.learning.Concept` would refuse.
    """

    name: str
    class_noun: str
    pictures: tuple[Image.Image, ...]
    captions: tuple[str, ...]

    @property
    def token(self) -> str:
        """How prompts name it: "<rex>"."""
        return f"<{self.name}>"


@dataclass(frozen=True)
class Budget:
    """What every method may spend on a concept: `steps` optimiser steps of `batch` image presentations each.

    A joint method has that many steps for each of its concepts. The other fields are the parts of the base's learning
    settings (cns/settings.py) that are no method's own: how time steps are drawn and weighted, how rates rise and fall,
    how pictures are prepared, the seed.
    """

    steps: int
    batch: int
    time_power: float
    seed: int
    warmup_steps: int = 10
    cooldown: float = 0.4
    mixed_precision: bool = True
    flip: bool = False
    resolution_px: int | None = None
    min_snr_gamma: float | None = None

    @classmethod
    def of(cls, settings: LearningSettings) -> "Budget":
        """The budget that a base's own learning settings amount to."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Painter:
    """A model with all concepts so far, ready to paint.

    base: the shared base, or what `altered_base` made of it. version: its K/V weights and its tokens.
    written_as: words of a prompt that this model reads differently, such as "<rex> dog" -> "dog" on the base alone.
    apart: whether concepts keep out of each other's places, where their values apply at their tokens.
    """

    base: BaseModel
    version: Version
    written_as: Mapping[str, str] = field(default_factory=dict)
    apart: bool = True

    def paint(
        self, requests: Sequence[GenerationRequest], batch: int = 16, on_step: OnStep | None = None
    ) -> list[Tensor]:
        """One picture (3, height, width) float32 in 0..1 on the CPU for each request, in their order."""
        read = [replace(request, prompt=self.read(request.prompt), apart=self.apart) for request in requests]
        return generate(self.base, self.version, read, batch=batch, on_step=on_step)

    def read(self, prompt: str) -> str:
        """The prompt in the words that this model reads."""
        if not self.written_as:
            return prompt
        words = "|".join(re.escape(words) for words in sorted(self.written_as, key=len, reverse=True))
        return re.sub(words, lambda found: self.written_as[found.group()], prompt)


def altered_base(base: BaseModel, unet_weights: Mapping[str, Tensor]) -> BaseModel:
    """A base with a UNet of its own, in which the parameters named have other values; all else is shared with `base`.

    unet_weights: name of a parameter of the UNet -> its value, of the same shape; copied in the base's dtype. The
    shared UNet is never written. K/V weights named here are the new base's `kv_weights`; a version made by
    `plain_version` of the new base uses them. Raises KeyError for a parameter that the UNet does not have.
    """
    unet = copy.deepcopy(base.unet)
    own = dict(unet.named_parameters())
    for name, value in unet_weights.items():
        own[name].data.copy_(value.detach())
    altered = copy.copy(base)
    altered.unet = unet
    altered.id = base_id(unet, base.text_encoders, base.prediction_type)
    altered.kv_weights = MappingProxyType({name: own[f"{name}.weight"] for name in base.kv_weights})
    return altered


def plain_version(
    base: BaseModel,
    tokens: Mapping[str, tuple[Tensor, ...]] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Version:
    """A version that is no list of deltas: the base's K/V weights, or `weights` in place of some, and these tokens.

    tokens: "<rex>" -> one (width,) float32 vector per text encoder. weights: K/V layer -> (out, in).
    """
    changed = {name: weight.detach().to(base.dtype) for name, weight in (weights or {}).items()}
    return Version((), MappingProxyType({**base.kv_weights, **changed}), MappingProxyType(dict(tokens or {})))


@dataclass(frozen=True)
class Cost:
    """What one concept cost.

    trained_parameters: numbers the optimiser moved. stored_bytes: what must be kept for this concept so that the model
    can be had again, at the precision it is stored with. seconds: to learn it, fusing not counted.
    fuse_seconds, fuse_bytes: extra time to merge it with the earlier ones, and what must be held to do so; 0 for
    methods that merge nothing. (Peak memory is measured by the runner from outside.)
    """

    trained_parameters: int
    stored_bytes: int
    seconds: float
    fuse_seconds: float = 0.0
    fuse_bytes: int = 0


class Learner(Protocol):
    """A model that learns one concept more with each call. It never writes the shared base."""

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        """Learn one concept more, in the order of the stream; a fused method merges it with the earlier ones too."""
        ...

    def painter(self) -> Painter:
        """The model as it now is, for all concepts so far. Earlier painters go on painting as they did."""
        ...


class JointLearner(Protocol):
    """A model that gets all its concepts at once; the runner measures it once, with the whole stream."""

    def learn_all(self, lessons: Sequence[Lesson], on_step: OnStep = no_steps) -> Cost:
        """Learn all of them together. The cost is of the whole, not of one concept. Called once."""
        ...

    def painter(self) -> Painter:
        """The model with all concepts."""
        ...


Start = Callable[[BaseModel, Budget, Mapping[str, float]], Learner | JointLearner]
"""start(base, budget, options) -> a learner that knows nothing yet. All randomness comes from the budget's seed."""


@dataclass(frozen=True)
class Method:
    """A method as it stands in the table.

    name: for commands and files ("lora-merged"). title: for tables ("LoRA, merged"). family: methods of one colour in
    charts ("low rank"). kind: see `Kind`; only "joint" methods start a `JointLearner`.
    options: every number of its own with the value it is run with. search_space: the values that tuning tries for some
    of them. Options given to `start` are always complete: see `with_options`. given: what else decides what it learns,
    as plain facts; cells that were run with another are run again. tuned_as: the method whose search found the values
    that this one is run with too, as an ablation differs from the whole by its part alone, and a bound from what it
    bounds by what it sees; None for a search of its own.
    """

    name: str
    title: str
    family: str
    kind: Kind
    start: Start
    options: Mapping[str, float] = field(default_factory=dict)
    search_space: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    tuned_as: str | None = None

    def with_tuned(self, found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """All options, with what the search found of those that this method has. found: method -> its best options."""
        best = found.get(self.tuned_as or self.name, {})
        return self.with_options({name: value for name, value in best.items() if name in self.options})

    def with_options(self, changes: Mapping[str, float]) -> dict[str, float]:
        """All options, some of them changed. Raises KeyError for one that this method does not have."""
        strange = changes.keys() - self.options.keys()
        if strange:
            raise KeyError(f"{self.name} has no option {min(strange)!r}; it has {', '.join(self.options) or 'none'}.")
        return {**self.options, **changes}
