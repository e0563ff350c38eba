"""Mix-of-Show (Gu et al., arXiv 2305.18292): an ED-LoRA for each concept, fused by gradient fusion.

Keys and values of the text are fused first, on the text features of each concept's own words, layer by layer. The
other projections are fused on what they see while each concept's model, with the fused keys and values, makes a picture
of it. Fusing begins at the base each time, with all concepts so far.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.continual.adapter_learning import Fused, Taught, build_painter, concept_generator, held_bytes
from benchmarks.continual.ed_lora import EdLoraLearner
from benchmarks.continual.gradient_fusion import Fusion, second_moment
from benchmarks.continual.layerwise import LayerwiseBase
from benchmarks.continual.low_rank import add_up, start_adapters
from benchmarks.continual.method import Lesson, OnStep, Painter
from cns.denoise import GenerationRequest
from cns.text import TokenVectors, tokenize

TEMPLATES = ("photo of a {}", "{}")
"""The prompts on which K and V are fused, with a concept's words in them, and the first of them is painted."""


class MixOfShow(EdLoraLearner):
    """A learner: see `benchmarks.continual.method.Learner`."""

    def teach(self, lesson: Lesson, on_step: OnStep) -> Taught:
        generator = concept_generator(self.budget.seed, lesson.name)
        adapters = start_adapters(self.projections, int(self.options["rank"]), 1.0, generator)
        return self.teach_with(lesson, adapters, generator, on_step)

    def fuse(self) -> Fused:
        text = {name: self._empty(name) for name in self.base.kv_weights}
        for one in self.taught:
            features = text_inputs(self.layerwise, prompts_of(one), one.tokens)
            for name, fusion in text.items():
                layer = self.layerwise.layers.index(name.rpartition(".")[0])
                fusion.add(one.changes[name].dense(), second_moment(features[layer]))
        ridge = self.options["ridge"]
        keys_and_values = {name: fusion.solve(ridge) for name, fusion in text.items()}
        spatial = {name: self._empty(name) for name in self.projections if name not in text}
        for one in self.taught:
            own = {**add_up([one.changes]), **keys_and_values}
            painter = build_painter(self.base, [one], own, self.view)
            for name, moment in self._spatial_moments(painter, one, list(spatial)).items():
                spatial[name].add(one.changes[name].dense(), moment)
        changes = {**keys_and_values, **{name: fusion.solve(ridge) for name, fusion in spatial.items()}}
        moments = sum(fusion.held_bytes for fusion in (*text.values(), *spatial.values()))
        return Fused(changes, held_bytes(self.taught, changes) + moments)

    def _empty(self, name: str) -> Fusion:
        projection = self.projections[name]
        return Fusion(projection.out_features, projection.in_features, projection.weight.device)

    def _spatial_moments(self, painter: Painter, one: Taught, names: Sequence[str]) -> dict[str, Tensor]:
        steps = int(self.options["fusion_steps"])
        prompt = TEMPLATES[0].format(one.called)
        with recorded_moments(painter.base.unet, names) as moments:
            painter.paint([GenerationRequest(prompt, seed=self.budget.seed, steps=steps, guidance=1.0)])
        return moments


def prompts_of(one: Taught) -> list[str]:
    """The prompts on which a concept's keys and values count, in the words that its tokens are written in."""
    [words] = one.written_as.values()
    return [template.format(words) for template in TEMPLATES]


@torch.no_grad()
def text_inputs(base: LayerwiseBase, prompts: Sequence[str], tokens: Mapping[str, TokenVectors]) -> Tensor:
    """What keys and values see of a concept: (layers, n, in), at its tokens and at each end of prompt.

    As published: not at the words before them, which are the same for every concept, nor at the padding.
    """
    features = base.text_features(prompts, tokens)
    length = features.hidden.shape[1]
    placed = tokenize(base.tokenizers[0], prompts, length).placed
    own = features.own.sum(dim=1).tolist()
    places = [(row, place) for row, place, _ in placed] + [(row, min(n + 1, length - 1)) for row, n in enumerate(own)]
    rows, positions = zip(*places, strict=True)
    by_layer = features.hidden[list(rows), list(positions)]  # (n, layers * in)
    return by_layer.unflatten(1, (len(base.layers), -1)).transpose(0, 1)


@contextmanager
def recorded_moments(unet: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While the block runs, the second moments (in, in) of what each projection named is given are added up."""
    moments: dict[str, Tensor] = {}

    def adding(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            moment = second_moment(inputs[0])
            moments[name] = moments[name] + moment if name in moments else moment

        return add

    handles = [unet.get_submodule(name).register_forward_pre_hook(adding(name)) for name in names]
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()
