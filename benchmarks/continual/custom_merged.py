"""Custom Diffusion (Kumari et al. 2023, arXiv 2212.04488), concepts learned alone and merged (its section 3.3).

For each projection of keys or values it looks for

    argmin over W of  || W C_reg^T - W_0 C_reg^T ||_F   such that   W C^T = V

in which the rows of C are text features of all concepts' words, V what each concept's own projection makes of its own,
and the rows of C_reg features of general prompts. It has a closed form.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.continual.custom_diffusion import CustomDiffusion
from benchmarks.continual.gradient_fusion import second_moment
from benchmarks.continual.method import Budget, Cost, Lesson, Method, OnStep, Painter, no_steps, plain_version
from benchmarks.continual.mix_of_show import TEMPLATES
from cns.base_model import BaseModel
from cns.text import TokenVectors

RIDGE = 1e-6
"""Of the mean of a moment's diagonal: enough for an inverse where features hardly differ."""


class MergedCustomDiffusion:
    """A learner whose concepts each begin at the base. regular: general prompts, at which merging leaves W_0 alone."""

    def __init__(
        self,
        base: BaseModel,
        budget: Budget,
        options: Mapping[str, float],
        guidance: float,
        regular: Sequence[str],
    ) -> None:
        self.base, self.budget, self.options, self.guidance = base, budget, options, guidance
        self.moment = general_moment(base, regular)
        self.taught: dict[str, tuple[str, TokenVectors, Mapping[str, Tensor]]] = {}
        self.weights: Mapping[str, Tensor] = base.kv_weights

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        alone = CustomDiffusion(self.base, self.budget, self.options, self.guidance)
        cost = alone.learn(lesson, on_step)
        kept = {layer: weight.half() for layer, weight in alone.weights.items()}
        self.taught[lesson.token] = (lesson.class_noun, alone.tokens[lesson.token], kept)
        started = time.monotonic()
        self.weights = self._merge()
        held = sum(weight.nbytes for _, _, weights in self.taught.values() for weight in weights.values())
        return Cost(
            cost.trained_parameters,
            cost.stored_bytes,
            cost.seconds,
            fuse_seconds=time.monotonic() - started,
            fuse_bytes=held + self.moment.nbytes,
        )

    def painter(self) -> Painter:
        tokens = {token: vectors for token, (_, vectors, _) in self.taught.items()}
        return Painter(self.base, plain_version(self.base, tokens, self.weights))

    @torch.no_grad()
    def _merge(self) -> dict[str, Tensor]:
        inputs = [word_features(self.base, token, noun, vectors) for token, (noun, vectors, _) in self.taught.items()]
        rows, merged = torch.cat(inputs), {}
        for layer, weight in self.base.kv_weights.items():
            wanted = torch.cat(
                [
                    own @ weights[layer].double().T
                    for own, (_, _, weights) in zip(inputs, self.taught.values(), strict=True)
                ]
            )
            merged[layer] = merge_constrained(weight.detach(), self.moment, rows, wanted)
        return merged


def general_moment(base: BaseModel, prompts: Sequence[str]) -> Tensor:
    """C_reg^T C_reg (in, in) float64 of every position of `prompts`: what they all begin and end with counts too."""
    with torch.no_grad():
        return second_moment(base.text_features(prompts).hidden)


@torch.no_grad()
def word_features(base: BaseModel, token: str, class_noun: str, vectors: TokenVectors) -> Tensor:
    """Features (n, in) float64 of a concept's words, from its token to the first end of each of `TEMPLATES`."""
    prompts = [template.format(f"{token} {class_noun}") for template in TEMPLATES]
    features = base.text_features(prompts, {token: vectors})
    last = features.own.sum(dim=1).tolist()  # the first end stands right behind what is the prompt's own
    rows = [features.hidden[row, place : last[row] + 2] for row, place, name in features.placed if name == token]
    return torch.cat(rows).double()


def merge_constrained(weight: Tensor, moment: Tensor, inputs: Tensor, wanted: Tensor) -> Tensor:
    """The W (out, in) in the dtype of `weight`, W_0 (out, in), with inputs @ W.T = wanted that moves general outputs
    least. Where more is wanted than there are directions, as near to it as the ridge leaves it.

    moment: C_reg^T C_reg (in, in). inputs: C (n, in). wanted: V (n, out). All three float64.
    """
    firm = moment.clone()
    firm.diagonal().add_(RIDGE * moment.diagonal().mean())
    reached = torch.linalg.solve(firm, inputs.T)  # (in, n): which way to go for each input
    among = inputs @ reached
    among.diagonal().add_(RIDGE * among.diagonal().mean())
    missing = wanted - inputs @ weight.double().T
    return (weight.double() + (reached @ torch.linalg.solve(among, missing)).T).to(weight.dtype)


def merged_custom_diffusion(sequential: Method, guidance: float, regular: Sequence[str]) -> Method:
    """Custom Diffusion's other way, set as `sequential` is: each concept is learned by it on the base."""

    def start(base: BaseModel, budget: Budget, options: Mapping[str, float]) -> MergedCustomDiffusion:
        return MergedCustomDiffusion(base, budget, options, guidance, regular)

    return replace(
        sequential,
        name="custom-merged",
        title="Custom Diffusion, merged",
        kind="fused",
        start=start,
        search_space={},
        given={"regular": list(regular)},
        tuned_as=sequential.name,
    )
