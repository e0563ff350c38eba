"""A picture that would be the same again is not painted again, and one that would not be is."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.continual.method import OnStep, Painter, plain_version
from benchmarks.continual.painted import Painted
from cns.base_model import BaseModel
from cns.compose import compose
from cns.denoise import GenerationRequest
from tests.cns.test_compose import make_delta

ASKED = [GenerationRequest(prompt, seed=3, steps=2) for prompt in ("a red house", "a photo of <rex> dog")]


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that were really painted."""
    seen: list[str] = []
    original = Painter.paint

    def paint(
        self: Painter, requests: Sequence[GenerationRequest], batch: int = 16, on_step: OnStep | None = None
    ) -> list[Tensor]:
        seen.extend(request.prompt for request in requests)
        return original(self, requests, batch, on_step)

    monkeypatch.setattr(Painter, "paint", paint)
    return seen


def test_what_the_next_concept_leaves_alone_is_found_again(sd1: BaseModel, painted: list[str]) -> None:
    rex = replace(make_delta(sd1, "rex", 1), reach="token")
    momo = replace(make_delta(sd1, "momo", 2), reach="token")
    kept = Painted()
    first = kept.paint(Painter(sd1, compose(sd1, [rex])), ASKED)
    more = [*ASKED, replace(ASKED[0], prompt="a <momo> cat"), replace(ASKED[0], seed=4)]
    second = kept.paint(Painter(sd1, compose(sd1, [rex, momo])), more)
    assert painted == ["a red house", "a photo of <rex> dog", "a <momo> cat", "a red house"]
    assert all(torch.equal(one, other) for one, other in zip(first, second[:2], strict=True))
    assert not torch.equal(second[0], second[3])


def test_what_the_next_concept_moves_is_painted_anew(sd1: BaseModel, painted: list[str]) -> None:
    kept, rex = Painted(), make_delta(sd1, "rex", 1)
    for line in ([rex], [rex, make_delta(sd1, "momo", 2)]):
        made = kept.paint(Painter(sd1, compose(sd1, line)), ASKED)
        assert all(
            torch.equal(one, other)
            for one, other in zip(made, Painter(sd1, compose(sd1, line)).paint(ASKED), strict=True)
        )
    assert painted == 4 * [request.prompt for request in ASKED]


def test_words_that_a_model_reads_alike_are_painted_once(sd1: BaseModel, painted: list[str]) -> None:
    painter = Painter(sd1, plain_version(sd1), {"<rex> dog": "dog"})
    one, other = Painted().paint(painter, [ASKED[1], replace(ASKED[1], prompt="a photo of dog")])
    assert torch.equal(one, other)
    assert len(painted) == 1
