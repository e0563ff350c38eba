"""Every experiment runs from end to end on tiny models, and its page is written from its figures alone."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from benchmarks.experiments import architectures
from benchmarks.experiments.__main__ import EXPERIMENTS, redraw, run
from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.record import Places
from benchmarks.experiments.static_text import text_moves
from cns.base_model import BaseModel, load_base
from tests import tiny
from tests.benchmarks.experiment_workshop import build_workshop

LEARN_OR_SELECT = sorted(EXPERIMENTS.keys() - {"architectures"})  # whose models of other shapes are tested one by one


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, device: torch.device) -> Workshop:
    """On a base that reads captions to their end: it spells the words of the storybook, letter by letter."""
    folder = tmp_path_factory.mktemp("workshop")
    return build_workshop(load_base(tiny.build_sd1(folder / "base", most_tokens=77), device=device), folder)


@pytest.mark.parametrize("name", LEARN_OR_SELECT)
def test_an_experiment_writes_its_page_its_picture_and_its_figures(
    name: str, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = Places(tmp_path / "docs", tmp_path / "results")
    run(name, workshop, places)
    written = json.loads(places.result_of(name).read_text())
    assert written["quick"] is True
    assert {"machine", "versions", "bars", "figures"} <= written.keys()
    page = (places.docs / f"{name}.md").read_text()
    assert all(sentence in page for sentence in written["says"])
    assert "too few steps to mean anything" in page
    assert f"python -m benchmarks.experiments {name}" in page
    assert f"]({name}.md)" in (places.docs / "README.md").read_text()
    ElementTree.fromstring((places.docs / f"{name}.svg").read_text())  # noqa: S314  our own picture
    assert written["says"][0] in capsys.readouterr().out


def test_a_page_is_drawn_anew_from_its_figures(workshop: Workshop, tmp_path: Path) -> None:
    places = Places(tmp_path / "docs", tmp_path / "results")
    run("overlap", workshop, places)
    pages = {path.name: path.read_bytes() for path in places.docs.iterdir()}
    figures = places.result_of("overlap").read_bytes()
    for path in places.docs.iterdir():
        path.unlink()
    redraw(["overlap", "ab"], places)  # the second has not been run, which is said and no error
    assert {path.name: path.read_bytes() for path in places.docs.iterdir()} == pages
    assert places.result_of("overlap").read_bytes() == figures


def test_two_text_encoders_go_the_whole_way(sdxl_folder: Path) -> None:
    figures = architectures.measure_sdxl(sdxl_folder, steps=2)
    assert figures["text_encoders"] == 2
    assert figures["handed_against_written"] < 1e-4 < figures["written_against_untouched"]
    assert figures["pictures_equal"]
    assert figures["base_unchanged"]
    assert figures["text_moves"] == 0
    assert figures["values_moved"] > 0.5 * figures["values"]


def test_a_transformer_takes_keys_and_values_as_a_unet_does() -> None:
    figures = architectures.measure_pixart()
    assert figures["handed_against_written"] < 1e-4 < figures["written_against_untouched"]
    assert figures["text_moves"] == 0


def test_joint_attention_moves_the_keys_of_a_prompt() -> None:
    assert architectures.measure_sd3()["text_moves"] > 1e-3


def test_a_projection_that_sees_the_picture_is_found_out(sd1: BaseModel) -> None:
    """The measure is not 0 whatever is measured: self-attention's keys do move."""
    features = sd1.text_features(["a red dog"])
    keys = [module for name, module in sd1.unet.named_modules() if name.endswith("attn1.to_k")]
    moves = text_moves(
        lambda latents, times: sd1.unet(latents, times, encoder_hidden_states=features.hidden), keys, (1, 4, 8, 8)
    )
    assert moves > 0.1


def test_what_the_architectures_show_is_told(sdxl_folder: Path) -> None:
    figures = {
        "sd15": {},
        "sdxl": architectures.measure_sdxl(sdxl_folder, steps=1),
        "pixart": architectures.measure_pixart(),
        "sd3": architectures.measure_sd3(),
    }
    report = architectures.report(figures)
    assert all(bar.holds for bar in report.bars)
    assert "the whole way holds" in " ".join(report.sentences)
    figures["sdxl"]["handed_against_written"] = 0.5
    report = architectures.report(figures)
    assert "something does NOT hold" in " ".join(report.sentences)
    assert not all(bar.holds for bar in report.bars)
