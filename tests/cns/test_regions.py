"""Regions: boxes with prompts of their own take part where they are, and nowhere else."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import pytest
import torch
from PIL import Image
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, GenerationRun, denoise_step, generate, to_pictures
from cns.errors import UnknownToken
from cns.kv import handed_attention, keys_and_values, predict
from cns.recipe import parameters_text, read_recipe, recipe_of, to_png
from cns.regions import (
    MOST_REGIONS,
    Region,
    RegionalKV,
    RegionRefused,
    coverage,
    level_size,
    mix_regions,
    region_weights,
)
from tests.cns.test_compose import make_delta

LEFT, RIGHT = Region("a <rex> dog", 0, 0, 0.5, 1), Region("a <mug>", 0.5, 0, 1, 1)
ASKED = GenerationRequest("a dog next to a mug", "dark", seed=3, steps=3, guidance=4.0)


def _version(base: BaseModel) -> Version:
    return compose(base, [make_delta(base, "rex", 1), make_delta(base, "mug", 2)])


def _regional(base: BaseModel, *regions: Region) -> RegionalKV:
    version = _version(base)
    hidden = base.text_features([region.prompt for region in regions], version.tokens).hidden
    return RegionalKV(regions, keys_and_values(version.weights, hidden), 8, 8)


# --- where ----------------------------------------------------------------------------------------------------------


def test_a_box_covers_the_same_area_at_every_resolution_and_not_only_of_squares() -> None:
    box = Region("a dog", 0.13, 0.2, 0.61, 0.77)
    for height, width in ((64, 64), (8, 8), (6, 10), (3, 5), (1, 1)):
        covered = coverage(box, height, width)
        assert covered.shape == (height, width)
        assert 0 <= covered.min() <= covered.max() <= 1
        assert covered.mean().item() == pytest.approx(0.48 * 0.57, abs=1e-6)


def test_a_box_on_the_grid_covers_its_positions_wholly_and_no_other() -> None:
    covered = coverage(Region("a dog", 0.25, 0.5, 0.75, 1), 2, 4)
    assert covered.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0]]


def test_shares_sum_to_one_and_what_no_box_covers_is_the_whole_prompts() -> None:
    boxes = (Region("a dog", 0.1, 0.1, 0.6, 0.9), Region("a mug", 0.4, 0, 1, 0.5))
    shares = region_weights(boxes, 8, 12)
    assert shares.shape == (3, 8, 12)
    assert shares.min() >= 0
    torch.testing.assert_close(shares.sum(0), torch.ones(8, 12))
    assert shares[0, 7, 11] == 1
    assert shares[0, 2, 6] == 0


def test_boxes_that_overlap_share_in_proportion() -> None:
    halves = region_weights((Region("a dog", 0, 0, 1, 1), Region("a mug", 0.5, 0, 1, 1)), 4, 4)
    assert halves[0].max() == 0
    assert halves[1, :, :2].eq(1).all()
    assert halves[1:, :, 2:].eq(0.5).all()


def test_the_level_is_known_by_its_number_of_positions() -> None:
    assert [level_size(positions, 12, 8) for positions in (96, 24, 6)] == [(12, 8), (6, 4), (3, 2)]
    assert level_size(6, 5, 4) == (3, 2)
    with pytest.raises(ValueError, match="7 positions"):
        level_size(7, 8, 8)


@pytest.mark.parametrize(
    "edges",
    [(0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (0, 0, 1.1, 1), (-0.1, 0, 1, 1), (0, 1, 1, 0), (0, 0, float("nan"), 1)],
)
def test_a_box_outside_the_picture_or_without_area_is_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(RegionRefused, match="from 0 to 1"):
        Region("a dog", *edges)


def test_a_region_without_words_and_too_many_regions_are_refused(sd1: BaseModel) -> None:
    with pytest.raises(RegionRefused, match="prompt of its own"):
        Region("  ", 0, 0, 1, 1)
    with pytest.raises(RegionRefused, match="at most 8"):
        generate(sd1, compose(sd1), [replace(ASKED, regions=(Region("a dog", 0, 0, 1, 1),) * (MOST_REGIONS + 1))])
    with pytest.raises(UnknownToken, match="<rex>"):
        generate(sd1, compose(sd1), [replace(ASKED, regions=(LEFT,))])


# --- attention ------------------------------------------------------------------------------------------------------


def test_positions_outside_every_box_and_rows_without_boxes_are_as_they_were_to_the_bit(sd1: BaseModel) -> None:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(3, 64, 6, generator=generator)
    answer = torch.randn(2, 64, 6, generator=generator)
    boxes = (Region("a dog", 0, 0, 0.25, 1), Region("a mug", 0.75, 0.5, 1, 1))
    mixed = mix_regions(whole, [answer], {1: RegionalKV(boxes, {}, 8, 8)})
    assert torch.equal(mixed[[0, 2]], whole[[0, 2]])
    seen, before, theirs = (x.view(*x.shape[:-2], 8, 8, 6) for x in (mixed[1], whole[1], answer))
    assert torch.equal(seen[:, 2:6], before[:, 2:6])
    assert torch.equal(seen[:4, 6:], before[:4, 6:])
    assert torch.equal(seen[:, :2], theirs[0, :, :2])
    assert torch.equal(seen[4:, 6:], theirs[1, 4:, 6:])


def _cross_attention(base: BaseModel, regions: dict[int, RegionalKV]) -> list[Tensor]:
    """What the first cross-attention layer answers in a UNet call of three rows, (positions, width) of each."""
    version = _version(base)
    kv = keys_and_values(version.weights, base.text_features(["a dog", "a cat", "a house"]).hidden)
    layer = next(module for name, module in base.unet.named_modules() if name.endswith("attn2"))
    answers: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: answers.append(output))
    try:
        with torch.no_grad(), handed_attention(base.unet):
            latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
            predict(
                base, latents.to(base.device), torch.tensor([500, 400, 300], device=base.device), kv, regions=regions
            )
    finally:
        handle.remove()
    return list(answers[0])


def test_two_boxes_change_what_their_positions_attend_to_and_nothing_else(sd1: BaseModel) -> None:
    plain = _cross_attention(sd1, {})
    upper = Region("a <rex> dog", 0, 0, 0.5, 0.5)
    lower = Region("a <mug>", 0.5, 0.5, 1, 1)
    mixed = _cross_attention(sd1, {1: _regional(sd1, upper, lower)})
    assert torch.equal(mixed[0], plain[0])
    assert torch.equal(mixed[2], plain[2])
    changed = (mixed[1] != plain[1]).any(dim=-1).view(8, 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:4, :4] = expected[4:, 4:] = True
    assert torch.equal(changed, expected)
    only_lower = _cross_attention(sd1, {1: _regional(sd1, lower)})
    torch.testing.assert_close(only_lower[1].view(8, 8, -1)[4:, 4:], mixed[1].view(8, 8, -1)[4:, 4:])


def assert_together_as_alone(base: BaseModel, version: Version, asked: Sequence[GenerationRequest]) -> None:
    """Pictures that share every step they can are those that each request gives by itself."""
    alone = [generate(base, version, [one])[0] for one in asked]
    runs = [GenerationRun(base, version, one) for one in asked]
    with handed_attention(base.unet):
        while waiting := [run for run in runs if not run.done]:
            denoise_step(base, waiting)
    together = base.decode_latents(torch.cat([run.latents for run in runs]))
    for picture, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(picture, expected, atol=1e-4, rtol=0)


# --- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("shape", ["sd1", "sd2"])
def test_a_region_over_the_whole_picture_is_the_prompt_of_the_picture(
    shape: str, guidance: float, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    asked = replace(ASKED, guidance=guidance)
    everywhere = replace(asked, regions=(Region("a <rex> dog", 0, 0, 1, 1),))
    made = generate(base, _version(base), [everywhere, replace(asked, prompt="a <rex> dog"), asked])
    torch.testing.assert_close(made[0], made[1], atol=1e-4, rtol=0)
    assert (made[0] - made[2]).abs().max() > 1e-3


@pytest.mark.parametrize("shape", ["sd1", "sd2", "sdxl"])
def test_pictures_with_and_without_regions_share_steps_and_are_as_made_alone(
    shape: str, request: pytest.FixtureRequest
) -> None:
    base: BaseModel = request.getfixturevalue(shape)
    version = _version(base)
    third = Region("a house at night", 0.2, 0.3, 0.8, 0.9)
    asked = [
        ASKED,
        replace(ASKED, regions=(LEFT, RIGHT), sampler="euler"),
        replace(ASKED, regions=(LEFT, RIGHT, third), guidance=1.0, steps=2),
        replace(ASKED, guidance=1.0),
        replace(ASKED, regions=(third,), negative_prompt=""),
    ]
    assert_together_as_alone(base, version, asked)


def test_regions_fit_pictures_that_are_not_square(sd1: BaseModel) -> None:
    step = sd1.vae_scale * 2
    wide = replace(ASKED, width_px=step * 6, height_px=step * 3, regions=(LEFT, RIGHT))
    made, plain = generate(sd1, _version(sd1), [wide, replace(wide, regions=())])
    assert made.shape == (3, step * 3, step * 6)
    assert made.isfinite().all()
    assert not torch.equal(made, plain)


def test_the_same_regions_give_the_same_bytes_and_leave_the_base_alone(sd1: BaseModel) -> None:
    checksum = sd1.checksum()
    asked = replace(ASKED, regions=(LEFT, replace(RIGHT, left=0.3)))
    first, second = (generate(sd1, _version(sd1), [asked])[0] for _ in range(2))
    assert torch.equal(first, second)
    assert sd1.checksum() == checksum


def test_a_recipe_carries_the_regions_and_makes_the_picture_again(sd1: BaseModel) -> None:
    version, asked = _version(sd1), replace(ASKED, regions=(LEFT, RIGHT))
    pixels = generate(sd1, version, [asked])
    png = to_png(to_pictures(pixels)[0], recipe_of(sd1, version.deltas, asked))
    with Image.open(BytesIO(png)) as opened:
        recipe = read_recipe(opened)
    assert recipe is not None
    assert recipe == recipe_of(sd1, version.deltas, asked)
    assert tuple(Region(**one) for one in recipe["regions"]) == asked.regions
    assert "Regions: 2" in parameters_text(recipe)
    assert "regions" not in recipe_of(sd1, version.deltas, ASKED)
