"""A concept of the whole picture is known by its pull at little noise, and its pictures are guided at first only."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cns import learning as learning_module
from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, GenerationRun, denoise_step, generate
from cns.errors import LearningRefused
from cns.kv import handed_attention
from cns.learning import LearningRun
from cns.learning_rows import EncodedPictures
from cns.prompts import encode_prompt
from cns.pull import LITTLE_NOISE, pull_of_token
from cns.regions import Region
from cns.text import without_token
from tests.cns.test_compose import make_delta
from tests.cns.test_learning import SETTINGS, concept, learn, run
from tests.cns.test_regions import assert_together_as_alone

SHAPES = pytest.mark.parametrize("shape", ["sd1", "sdxl"])
CAPTIONS = ("a <noir> cat on grass", "a photo of a <noir> cat")
SIGNAL = torch.linspace(1, 0, 10)
ASKED = GenerationRequest("a <noir> cat on grass", "blurred", seed=3, steps=5, guidance=4.0)
NEAR = replace(SETTINGS, reach="token", wide_guided=0.5)


def _near(base: BaseModel, name: str = "noir", seed: int = 1, guided: float = 1.0) -> Delta:
    return replace(make_delta(base, name, seed), reach="token", guided=guided)


def _pictures(base: BaseModel) -> EncodedPictures:
    generator = torch.Generator().manual_seed(7)
    side = base.native_px // base.vae_scale
    latents = torch.randn(3, base.unet.config.in_channels, side, side, generator=generator).to(base.device)
    return EncodedPictures(latents, CAPTIONS, torch.tensor([0, 1, 0]), base.native_px, sha256="")


def _pull(base: BaseModel, *deltas: Delta, captions: Sequence[str] = CAPTIONS) -> float:
    pictures = replace(_pictures(base), captions=tuple(captions))
    return pull_of_token(base, compose(base, deltas), pictures, "<noir>", "cat", SIGNAL.to(base.device))


# --- the measure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "rest"),
    [
        ("a <noir> drawing of a cat", "a drawing of a cat"),
        ("a drawing in <noir>", "a drawing in "),
        ("<noir>, <noir> cat", ", cat"),
        ("a <noir-2> cat", "a <noir-2> cat"),
    ],
)
def test_a_prompt_without_its_concept_says_the_rest(prompt: str, rest: str) -> None:
    assert without_token(prompt, "<noir>") == rest


@SHAPES
def test_the_pull_is_what_the_token_changes_over_what_all_other_words_change(
    shape: str, request: pytest.FixtureRequest
) -> None:
    """Against the UNet's own attention, asked about one picture at a time with the plain text states."""
    base: BaseModel = request.getfixturevalue(shape)
    delta = _near(base)
    own = {layer: base.kv_weights[layer].flatten()[where].half() for layer, where in delta.positions.items()}
    version, pictures = compose(base, [replace(delta, values=own)]), _pictures(base)
    time = int(LITTLE_NOISE * len(SIGNAL))
    generator = torch.Generator().manual_seed(0)
    of_token = of_words = 0.0
    for place, latents in enumerate(pictures.latents.split(1)):
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = SIGNAL[time].sqrt() * latents + (1 - SIGNAL[time]).sqrt() * noise
        caption = CAPTIONS[int(pictures.caption_of[place])]
        answers = [
            _stock_answer(base, version, text, noisy, time) for text in ("", caption.replace("<noir> ", ""), caption)
        ]
        of_token += float((answers[2] - answers[1]).square().sum())
        of_words += float((answers[1] - answers[0]).square().sum())
    measured = pull_of_token(base, version, pictures, "<noir>", "cat", SIGNAL.to(base.device))
    assert measured == pytest.approx((of_token / of_words) ** 0.5, rel=2e-3)  # the values are the base's in half


@torch.no_grad()
def _stock_answer(base: BaseModel, version: Version, text: str, noisy: Tensor, time: int) -> Tensor:
    features = base.text_features([text], version.tokens)
    if base.kind == "sdxl" and not text:  # as it was trained
        assert features.pooled is not None
        features = replace(features, hidden=features.hidden * 0, pooled=features.pooled * 0)
    added = base.added_conditions(features.pooled, base.native_px, base.native_px)
    made: Tensor = base.unet(noisy, time, features.hidden, added_cond_kwargs=added, return_dict=False)[0]
    return made


def test_the_further_a_token_is_from_what_it_stands_before_the_harder_it_pulls(sd1: BaseModel) -> None:
    delta = _near(sd1)
    nearer = replace(delta, values={layer: values * 0.1 for layer, values in delta.values.items()})
    assert 0 < _pull(sd1, nearer) < _pull(sd1, delta)


def test_values_of_other_concepts_do_not_count(sd1: BaseModel) -> None:
    assert _pull(sd1, _near(sd1)) == _pull(sd1, _near(sd1, "rex", 2), _near(sd1))


@pytest.mark.parametrize(
    ("bare", "meant"),
    [("<noir>", "<noir> cat"), ("A <noir>.", "A <noir> cat."), ("<noir>, <noir>", "<noir> cat, <noir> cat")],
)
def test_a_caption_without_any_word_is_measured_with_its_class_noun(sd1: BaseModel, bare: str, meant: str) -> None:
    """Against no words at all every token would pull beyond all bounds."""
    delta = _near(sd1)
    assert _pull(sd1, delta, captions=(bare, bare)) == _pull(sd1, delta, captions=(meant, meant))
    other = CAPTIONS[0]
    assert _pull(sd1, delta, captions=(bare, other)) == _pull(sd1, delta, captions=(meant, other))


# --- when it is learned -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "guided"), [(0.0, 0.5), (float("inf"), 1.0)])
def test_a_concept_that_pulls_hard_is_guided_for_the_share_that_is_set(
    sd1: BaseModel, monkeypatch: pytest.MonkeyPatch, limit: float, guided: float
) -> None:
    monkeypatch.setattr(learning_module, "WIDE_PULL", limit)
    learning = _done(run(sd1, compose(sd1), concept(), NEAR))
    delta = learning.finish()
    assert delta.guided == delta.report["guided"] == guided
    on_the_way = learning.sample_version()
    assert on_the_way.guided["<rex>"] == guided
    expected = pull_of_token(sd1, on_the_way, learning.pictures, "<rex>", "dog", learning._signal)
    assert delta.report["pull"] == pytest.approx(expected, rel=5e-3)
    assert Delta.from_bytes(delta.to_bytes()).guided == guided


@pytest.mark.parametrize("changes", [{"reach": "token"}, {"wide_guided": 0.5}])
def test_nothing_is_measured_where_nothing_depends_on_it(sd1: BaseModel, changes: dict[str, object]) -> None:
    """Values that reach everywhere are the method as published, and so are their pictures."""
    delta = learn(sd1, (), None, **changes)
    assert (delta.guided, delta.report.keys() & {"pull", "guided"}) == (1.0, set())


def test_a_concept_whose_captions_are_its_token_alone_is_no_wider_than_others(sd1: BaseModel) -> None:
    taught = concept()
    bare = replace(taught, captions=("<rex>",) * len(taught.pictures))
    said = replace(taught, captions=("<rex> dog",) * len(taught.pictures))
    pulls = [_done(run(sd1, compose(sd1), one, NEAR)).finish().report["pull"] for one in (bare, said)]
    assert pulls[0] == pytest.approx(pulls[1], rel=0.5)


def test_the_same_learning_has_the_same_pull_after_a_stop(sd1: BaseModel) -> None:
    whole, stopped = _done(run(sd1, compose(sd1), concept(), NEAR)), run(sd1, compose(sd1), concept(), NEAR)
    stopped.step()
    resumed = LearningRun(
        sd1, compose(sd1), concept(), NEAR, calibration=stopped._calibration, resume=stopped.checkpoint()
    )
    assert _done(resumed).finish().digest == whole.finish().digest


def test_a_token_whose_pictures_are_not_finite_is_refused(sd1: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_module, "pull_of_token", lambda *_: float("nan"))
    with pytest.raises(LearningRefused, match="diverged"):
        _done(run(sd1, compose(sd1), concept(), NEAR)).finish()


def _done(learning: LearningRun) -> LearningRun:
    while not learning.done:
        learning.step()
    return learning


# --- pictures ---------------------------------------------------------------------------------------------------------


def _steps(
    base: BaseModel, version: Version, asked: GenerationRequest, before: Callable[[GenerationRun], None]
) -> Tensor:
    """The latents that `asked` ends with; `before` is told of the run before each of its steps."""
    made = GenerationRun(base, version, asked)
    with handed_attention(base.unet):
        while not made.done:
            before(made)
            denoise_step(base, [made])
    return made.latents


@pytest.mark.parametrize("sampler", ["ddim", "euler", "unipc"])
@SHAPES
def test_its_pictures_are_guided_at_the_noisiest_levels_and_then_ask_for_the_prompt_alone(
    shape: str, sampler: str, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    asked, rows, times = replace(ASKED, sampler=sampler), [], []

    def look(made: GenerationRun) -> None:
        rows.append(made.rows)
        times.append(float(made.timestep))

    made = _steps(base, compose(base, [_near(base, guided=0.5)]), asked, look)
    levels = base.scheduler_config["num_train_timesteps"]
    assert rows == [2 if time >= levels / 2 else 1 for time in times]
    assert 0 < rows.count(2) < len(rows)

    # The same by hand: a run that is guided all the way, and is told to be guided no more.
    def stop(by_hand: GenerationRun) -> None:
        if by_hand.timestep < levels / 2:
            by_hand.guided_from = None

    assert torch.equal(made, _steps(base, compose(base, [_near(base)]), asked, stop))


@pytest.mark.parametrize("prompt", ["a cat on grass", "a <rex> cat on grass"])
def test_pictures_that_do_not_name_it_are_the_same_to_the_bit(sd1: BaseModel, prompt: str) -> None:
    asked = replace(ASKED, prompt=prompt, negative_prompt="a <noir> cat")
    made, as_ever = (
        generate(sd1, compose(sd1, [_near(sd1, "rex", 2), _near(sd1, guided=guided)]), [asked])[0]
        for guided in (0.3, 1.0)
    )
    assert torch.equal(made, as_ever)


def test_of_several_concepts_the_one_that_is_guided_least_decides(sd1: BaseModel) -> None:
    deltas = [_near(sd1, "rex", 2), _near(sd1, guided=0.5), _near(sd1, "dusk", 3, guided=0.2)]
    version = compose(sd1, deltas)
    prompts = ("a cat", "a <rex> cat", "a <rex> cat, <noir>", "a <dusk> cat, <noir> <rex>")
    assert [encode_prompt(sd1, version, prompt).guided for prompt in prompts] == [1.0, 1.0, 0.5, 0.2]


def test_of_a_picture_with_regions_whoever_is_named_in_one_decides_too(sd1: BaseModel) -> None:
    version = compose(sd1, [_near(sd1, "rex", 2), _near(sd1, guided=0.5), _near(sd1, "dusk", 3, guided=0.2)])
    levels = sd1.scheduler_config["num_train_timesteps"]

    def guided_from(prompt: str, *prompts: str) -> float | None:
        regions = tuple(Region(one, 0, 0, 0.5, 1) for one in prompts)
        return GenerationRun(sd1, version, replace(ASKED, prompt=prompt, regions=regions)).guided_from

    assert guided_from("a cat", "a <rex> cat") == 0
    assert guided_from("a cat", "a <rex> cat", "a <noir> cat") == levels * 0.5
    assert guided_from("a <noir> cat", "a <dusk> cat") == guided_from("a <dusk> cat", "a <noir> cat") == levels * 0.8


def test_a_picture_without_guidance_takes_one_row_from_the_first_step(sd1: BaseModel) -> None:
    made = GenerationRun(sd1, compose(sd1, [_near(sd1, guided=0.5)]), replace(ASKED, guidance=1.0))
    assert (made.rows, len(made.prompts)) == (1, 1)


@SHAPES
def test_they_share_steps_with_others_and_are_as_made_alone(shape: str, request: pytest.FixtureRequest) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    version = compose(base, [_near(base, "rex", 2), _near(base, guided=0.5)])
    region = replace(ASKED, prompt="a cat", seed=7, regions=(Region("a <noir> cat", 0, 0, 0.5, 1),))
    rex, euler = replace(ASKED, prompt="a <rex> cat", seed=5), replace(ASKED, sampler="euler", steps=3, seed=6)
    asked = [ASKED, rex, euler, region]
    assert_together_as_alone(base, version, asked)
