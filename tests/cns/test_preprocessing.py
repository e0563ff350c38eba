"""Pictures are prepared as transformers' own processors do it, without torchvision."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from cns.preprocessing import PreprocessingError, parse_preprocessing, read_preprocessing, to_pillow
from tests.tiny_clip import random_pictures

SIZES = [(20, 28), (31, 17), (16, 16), (9, 50)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pictures_are_prepared_as_clips_own_processor_does(width: int, height: int) -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 14, "width": 12})
    pictures = random_pictures(2, width, height)
    expected = processor(pictures, return_tensors="pt").pixel_values
    prepared = parse_preprocessing(processor.to_dict()).prepare(pictures)
    assert prepared.shape == (2, 3, 14, 12)
    torch.testing.assert_close(prepared, expected, atol=1e-5, rtol=0)


def test_pictures_are_prepared_as_blips_own_processor_does() -> None:
    processor = BlipImageProcessorPil(size={"height": 18, "width": 22})
    pictures = random_pictures(2, 30, 20)
    expected = processor(pictures, return_tensors="pt").pixel_values
    torch.testing.assert_close(parse_preprocessing(processor.to_dict()).prepare(pictures), expected, atol=1e-5, rtol=0)


def test_older_files_give_one_number_for_a_size() -> None:
    clip = parse_preprocessing({"size": 224, "crop_size": 224, "do_center_crop": True})
    assert (clip.size, clip.crop) == (224, (224, 224))
    blip = parse_preprocessing({"size": 384})
    assert (blip.size, blip.crop) == ((384, 384), None)


def test_a_picture_in_memory_is_prepared_as_its_file_would_be() -> None:
    pixels = torch.rand(2, 3, 20, 28, generator=torch.Generator().manual_seed(0))
    preprocessing = parse_preprocessing({"size": 16, "crop_size": 16})
    assert torch.equal(preprocessing.prepare(pixels), preprocessing.prepare(to_pillow(pixels)))


def test_grey_and_transparent_pictures_are_taken_too() -> None:
    preprocessing = parse_preprocessing({"size": 16, "crop_size": 16})
    assert preprocessing.prepare([Image.new("L", (20, 20)), Image.new("RGBA", (30, 20))]).shape == (2, 3, 16, 16)


def test_what_is_switched_off_is_not_done() -> None:
    plain = parse_preprocessing({"do_resize": False, "do_center_crop": False, "do_normalize": False})
    prepared = plain.prepare([Image.new("RGB", (5, 4), (255, 0, 0))])
    assert prepared.shape == (1, 3, 4, 5)
    assert prepared[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(PreprocessingError, match="different sizes"):
        plain.prepare([Image.new("RGB", (5, 4)), Image.new("RGB", (4, 4))])


@pytest.mark.parametrize("wrong", [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8).byte()])
def test_what_is_no_picture_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(PreprocessingError, match="shape"):
        to_pillow(wrong)


def test_no_pictures_are_refused() -> None:
    with pytest.raises(PreprocessingError, match="no pictures"):
        parse_preprocessing({"size": 16}).prepare([])


def test_the_newer_file_holds_the_same_in_a_section(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": {"size": {"shortest_edge": 16}}}))
    assert read_preprocessing(tmp_path).size == 16


def test_a_folder_that_does_not_say_how_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreprocessingError, match=r"lacks preprocessor_config\.json"):
        read_preprocessing(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(PreprocessingError, match="cannot be understood"):
        read_preprocessing(tmp_path)
