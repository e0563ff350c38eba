"""The jury gives full marks to real pictures, none to the class noun's, and sees twins taken for each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks.continual.asking import Asking
from benchmarks.continual.judging import Judges, Jury
from benchmarks.continual.method import OnStep, Painter, plain_version
from benchmarks.continual.storybook_streams import storybook_streams
from cns.base_model import BaseModel
from cns.denoise import GenerationRequest
from cns.judge import load_judge
from cns.own_settings import GenerationSettings
from cns.text import TOKEN
from storybook import MODEL_FOLDER
from storybook.individuals import find_individual
from storybook.likeness import find_likeness
from storybook.world import Scene, Thing, draw, place_two

ASKING = Asking(GenerationSettings(steps=1), concept_seeds=1, composition_seeds=1)
STREAM = replace(storybook_streams()["quick"], generic_prompts=("a red house at night", "a blue mug"))
NAMES = [concept.name for concept in STREAM.concepts]
HELD_OUT = {concept.name: concept.held_out for concept in STREAM.concepts}


def to_pixels(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def together(names: Sequence[str], seed: int = 0) -> Image.Image:
    """A real picture of two individuals side by side."""
    rng = np.random.default_rng(seed)
    left, right = (find_individual(name).thing for name in names)
    return Image.fromarray(draw(Scene(place_two(rng, left, right), "on the grass", None, seed)))


def alone(names: Sequence[str]) -> Image.Image:
    return HELD_OUT[names[0]][0]


@dataclass(frozen=True)
class Showing(Painter):
    """Shows the pictures that `show` finds for the names in a prompt; of other prompts what the base paints."""

    show: Callable[[list[str]], Image.Image] = alone

    def paint(
        self, requests: Sequence[GenerationRequest], batch: int = 16, on_step: OnStep | None = None
    ) -> list[Tensor]:
        found = [[token.strip("<>") for token in TOKEN.findall(request.prompt)] for request in requests]
        plain = iter(super().paint([request for request, names in zip(requests, found) if not names]))
        return [to_pixels(self.show(names)) if names else next(plain) for names in found]


def showing(base: BaseModel, show: Callable[[list[str]], Image.Image]) -> Painter:
    return Showing(base, plain_version(base), show=show)


@pytest.fixture(scope="module")
def jury(sd1: BaseModel) -> Jury:
    judges = Judges(load_judge(MODEL_FOLDER / "clip"), find_likeness())
    return Jury(sd1, STREAM, judges, ASKING)


def test_real_pictures_get_full_marks(jury: Jury, sd1: BaseModel) -> None:
    painter = showing(sd1, lambda names: alone(names) if len(names) == 1 else together(names[:2]))
    figures, _ = jury.judge(painter, NAMES)
    for name in NAMES:
        for judge in ("clip", "individuals"):
            assert figures["concepts"][name][judge]["share"] > 0.9
    assert figures["concepts"]["misty"]["individuals"]["confused"] == 0
    assert "confused" not in figures["concepts"]["cocoa"]["individuals"]
    pairs = [one for one in figures["compositions"] if len(one["names"]) == 2]
    assert [one["present"] for one in pairs] == [1.0] * len(pairs)


def test_what_the_base_paints_of_class_nouns_gets_none(jury: Jury, sd1: BaseModel) -> None:
    nouns = {f"<{one.name}> {one.class_noun}": one.class_noun for one in STREAM.concepts}
    figures, album = jury.judge(Painter(sd1, plain_version(sd1), nouns), NAMES)
    shares = [figures["concepts"][name][judge]["share"] for name in NAMES for judge in ("clip", "individuals")]
    assert shares == pytest.approx([0.0] * len(shares), abs=1e-6)
    assert figures["generic"]["clip_similarity"] == pytest.approx(1.0)
    assert figures["generic"]["text"] == pytest.approx(figures["generic"]["base_text"])
    assert len(album.generic) == len(STREAM.generic_prompts)


def test_twins_taken_for_each_other_are_seen(jury: Jury, sd1: BaseModel) -> None:
    swapped = {"misty": "jade", "jade": "misty", "cocoa": "cocoa"}
    figures, _ = jury.judge(showing(sd1, lambda names: alone([swapped[names[0]]])), NAMES)
    assert figures["concepts"]["misty"]["individuals"]["confused"] == 1
    assert figures["concepts"]["misty"]["individuals"]["share"] < 0.5


def test_one_thing_twice_is_not_two_things(jury: Jury, sd1: BaseModel) -> None:
    figures, _ = jury.judge(showing(sd1, lambda names: together([names[0], names[0]])), NAMES)
    assert all(one["present"] == 0 for one in figures["compositions"])


def test_what_is_only_nearest_to_its_concept_does_not_show_it(jury: Jury, sd1: BaseModel) -> None:
    """Class nouns beside each other are each nearest to something; none of them is half of the way there."""
    rng = np.random.default_rng(0)
    plain = [Thing(noun, "red", None, "plain", None) for noun in ("cat", "mug")]
    picture = Image.fromarray(draw(Scene(place_two(rng, plain[0], plain[1]), "on the grass", None, 0)))
    figures, _ = jury.judge(showing(sd1, lambda names: picture), NAMES)
    assert all(one["present"] == 0 for one in figures["compositions"])


def test_only_what_was_learned_is_asked_for(jury: Jury, sd1: BaseModel) -> None:
    figures, _ = jury.judge(showing(sd1, alone), NAMES[:1])
    assert list(figures["concepts"]) == NAMES[:1]
    assert figures["compositions"] == []
