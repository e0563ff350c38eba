"""Picture files as people have them."""

from pathlib import Path

import pytest
from PIL import Image

from cns import pictures
from cns.pictures import UnreadablePicture, read_picture, to_latent_pixels


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_png_jpeg_and_webp_are_read_as_rgb(tmp_path: Path, name: str) -> None:
    Image.new("L", (6, 4), 128).save(tmp_path / name)
    read = read_picture(tmp_path / name)
    assert (read.mode, read.size) == ("RGB", (6, 4))


def test_a_picture_taken_sideways_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by a quarter
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").size == (4, 6)


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "holiday.png").write_bytes(data)
    with pytest.raises(UnreadablePicture, match=r"holiday\.png cannot be read"):
        read_picture(tmp_path / "holiday.png")


def test_a_picture_that_is_cut_short_is_named(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadablePicture, match=r"half\.png cannot be read"):
        read_picture(tmp_path / "half.png")


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
    with pytest.raises(UnreadablePicture):
        read_picture(tmp_path / "a.gif")


def test_a_picture_too_large_for_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 20)
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    with pytest.raises(UnreadablePicture, match="6 x 4 pixels"):
        read_picture(tmp_path / "a.png")


def test_the_middle_of_a_picture_is_learned() -> None:
    picture = Image.new("RGB", (12, 4), "black")
    picture.paste("white", (4, 0, 8, 4))
    pixels = to_latent_pixels(picture, 4)
    assert pixels.shape == (1, 3, 4, 4)
    assert bool((pixels == 1).all())
