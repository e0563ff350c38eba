"""Values at tokens as weights: nearly the same at the token, nearly nothing elsewhere, and stock diffusers draws it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, generate
from cns.export import ExportError, export_custom_diffusion, export_diffusers, export_lora
from cns.prompts import encode_prompt
from cns.spreading import spread_into_weights
from tests.cns.test_export import REQUEST, drawn_by, scattered_delta, stock_pipeline

GENERAL = ("a red robot", "a blue house at night", "the mug on grass", "a photo of a cat")
TAUGHT = "a photo of a <rex> dog"


def _near(base: BaseModel) -> Version:
    rex = replace(scattered_delta(base, "rex", "dog", 1), reach="token")
    return compose(base, [rex, replace(scattered_delta(base, "tom", "cat", 2, rex), reach="token")])


def _difference(base: BaseModel, one: Version, other: Version, prompt: str, position: int) -> float:
    """Of K and V at a position of the prompt: root of the sum of squares over all layers."""
    made, theirs = encode_prompt(base, one, prompt).kv, encode_prompt(base, other, prompt).kv
    squares = [
        (a[0, position] - b[0, position]).square().sum()
        for layer in made
        for a, b in zip(made[layer], theirs[layer], strict=True)
    ]
    return float(torch.stack(squares).sum().sqrt())


def test_at_the_token_weights_do_what_its_values_did_and_elsewhere_far_less_than_these_would(sd1: BaseModel) -> None:
    near = _near(sd1)
    spread = spread_into_weights(sd1, near, GENERAL)
    bare = Version(near.deltas, sd1.kv_weights, near.tokens)
    everywhere = compose(sd1, [replace(delta, reach="everywhere") for delta in near.deltas])
    at = TAUGHT.split().index("<rex>") + 1
    wanted = _difference(sd1, near, bare, TAUGHT, at)
    assert _difference(sd1, near, spread.version, TAUGHT, at) < 0.2 * wanted
    moved, would_move = (_difference(sd1, one, bare, GENERAL[1], 2) for one in (spread.version, everywhere))
    assert moved < 0.5 * would_move
    assert set(spread.missed) == {"<rex>", "<tom>"}
    assert all(0 < share < 0.2 for share in spread.missed.values())
    assert 0 < spread.moved < 1


def test_nothing_is_left_at_tokens_and_what_was_given_is_as_it_was(sd1: BaseModel) -> None:
    near, checksum = _near(sd1), sd1.checksum()
    spread = spread_into_weights(sd1, near, GENERAL)
    assert not spread.version.at_tokens
    assert spread.version.deltas == near.deltas
    assert all(near.weights[layer] is weight for layer, weight in sd1.kv_weights.items())
    assert sd1.checksum() == checksum


def test_a_version_whose_weights_are_all_is_not_touched(sd1: BaseModel) -> None:
    version = compose(sd1, [scattered_delta(sd1, "rex", "dog", 1)])
    spread = spread_into_weights(sd1, version, GENERAL)
    assert (spread.version, spread.missed, spread.moved) == (version, {}, 0.0)


def test_what_reaches_everywhere_stays_so_beside_what_is_spread(sd1: BaseModel) -> None:
    written = scattered_delta(sd1, "tom", "cat", 2)
    version = compose(sd1, [written, replace(scattered_delta(sd1, "rex", "dog", 1, written), reach="token")])
    spread = spread_into_weights(sd1, version, GENERAL)
    at = TAUGHT.split().index("<rex>") + 1
    without = replace(version, at_tokens={})
    wanted = _difference(sd1, version, without, TAUGHT, at)
    assert _difference(sd1, version, spread.version, TAUGHT, at) < 0.2 * wanted


def test_stock_diffusers_draws_what_we_draw_of_a_spread_version(sd1: BaseModel, tmp_path: Path) -> None:
    version = spread_into_weights(sd1, _near(sd1), GENERAL).version
    folder = export_diffusers(sd1, version, tmp_path / "out")
    ours = generate(sd1, version, [REQUEST])[0]
    assert torch.allclose(drawn_by(stock_pipeline(folder, sd1))[0], ours, atol=1e-4)
    bare = generate(sd1, compose(sd1), [GenerationRequest("a photo of a dog", seed=REQUEST.seed, steps=3)])[0]
    assert not torch.allclose(ours, bare, atol=1e-2)


def test_a_caption_that_names_a_forgotten_concept_stops_no_spreading(sd1: BaseModel) -> None:
    captions = {"captions": ["a <tom> cat next to a <rex> dog"]}
    _, tom = _near(sd1).deltas
    spread = spread_into_weights(sd1, compose(sd1, [replace(tom, report=captions)]), GENERAL)
    assert set(spread.missed) == {"<tom>"}


@pytest.mark.parametrize("export", [export_diffusers, export_custom_diffusion, export_lora])
def test_a_form_that_cannot_say_it_refuses_what_was_not_spread(
    sd1: BaseModel, tmp_path: Path, export: type[object]
) -> None:
    with pytest.raises(ExportError, match="apply at their token alone"):
        export(sd1, _near(sd1), tmp_path / "out")  # type: ignore[call-arg]
    assert not (tmp_path / "out").exists()
