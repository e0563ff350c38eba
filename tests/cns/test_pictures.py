"""Picture files as people have them."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from cns import pictures
from cns.pictures import UnreadablePicture, cut_pieces, flatten, read_picture, small_copy, to_latent_pixels


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


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_grey_in_16_bits_has_the_tones_that_it_has_in_8(mode: str) -> None:
    levels = np.array([[0, 255, 256, 0x7FFF, 0xFFFF]])
    picture = Image.fromarray(levels.astype(np.uint16 if mode == "I;16" else np.int32))
    assert picture.mode == mode
    for read in (flatten(picture), small_copy(picture)):
        assert read.mode == "RGB"
        assert np.asarray(read).tolist() == [[[tone] * 3 for tone in (0, 0, 1, 127, 255)]]


def test_a_file_in_16_bits_is_read_so(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").getpixel((0, 0)) == (128, 128, 128)


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


def test_a_picture_whose_camera_data_are_damaged_is_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "whole.jpg", exif=exif)
    data = bytearray((tmp_path / "whole.jpg").read_bytes())
    begin = data.index(b"Exif\0\0") + 6
    read = 0
    for place in range(begin, begin + 26):
        for value in (0, 1, 5, 12, 255):
            data[place], before = value, data[place]
            (tmp_path / "a.jpg").write_bytes(data)
            data[place] = before
            try:
                read_picture(tmp_path / "a.jpg")
            except UnreadablePicture as error:
                assert "a.jpg cannot be read" in str(error)  # noqa: PT017 - some of them can be read
            else:
                read += 1
    assert read > 0


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
    with pytest.raises(UnreadablePicture):
        read_picture(tmp_path / "a.gif")


def test_a_picture_too_large_for_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 20)
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    with pytest.raises(UnreadablePicture, match="6 x 4 pixels"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("size", "kept"),
    [((64, 64), (64, 64)), ((256, 2000), (256, 2000)), ((1280, 720), (455, 256)), ((3, 900), (3, 900))],
)
def test_a_copy_for_scoring_is_as_small_as_what_is_seen_of_it(size: tuple[int, int], kept: tuple[int, int]) -> None:
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    copy = small_copy(picture)
    assert (copy.size, copy.getpixel((0, 0))) == (kept, (255, 255, 255))
    assert picture.size == size


def test_the_middle_of_a_picture_is_learned() -> None:
    picture = Image.new("RGB", (12, 4), "black")
    picture.paste("white", (4, 0, 8, 4))
    pixels = to_latent_pixels(picture, 4)
    assert pixels.shape == (1, 3, 4, 4)
    assert bool((pixels == 1).all())


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (2, 1), (1, 1)])
def test_pieces_of_a_picture_lie_within_what_is_learned_of_it(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "black")
    square = min(size)
    left, top = (size[0] - square) // 2, (size[1] - square) // 2
    picture.paste("white", (left, top, left + square, top + square))
    pieces = cut_pieces(picture, 16, 20, Random(0))
    assert [(piece.size, piece.getextrema()) for piece in pieces] == [((16, 16), ((255, 255),) * 3)] * 20


def test_pieces_have_several_sizes_and_places_that_their_seed_decides() -> None:
    ramp = np.arange(100, dtype=np.uint8)
    picture = Image.fromarray(np.stack(np.broadcast_arrays(ramp[None], ramp[:, None], np.uint8(0)), axis=-1))
    edges = []
    for piece in cut_pieces(picture, 10, 30, Random(3)):
        (west, east), (north, south), _ = piece.getextrema()
        edges.append((west, north, east - west))
        assert abs((east - west) - (south - north)) <= 2
    assert len(set(edges)) > 20
    widths = [width for *_, width in edges]  # of ten pixels, so nine tenths of the side at the most
    assert 60 <= min(widths) < max(widths) <= 90
    first, again, others = ([p.tobytes() for p in cut_pieces(picture, 10, 30, Random(seed))] for seed in (3, 3, 4))
    assert first == again != others
