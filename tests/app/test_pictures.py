"""Uploads of every kind of rubbish answer with a sentence that names the file, and good ones come out clean."""

import contextlib
import zlib
from io import BytesIO

import pytest
from PIL import Image

from app.config import Settings
from app.errors import AppError, Invalid, TooLarge
from app.pictures import check_picture, warn_about
from tests.app.person import png

LIMITS = Settings(max_file_bytes=2_000_000, max_pixels=4_000_000)


def animated(format_: str) -> bytes:
    frames = [Image.new("RGB", (80, 80), colour) for colour in ("red", "blue")]
    file = BytesIO()
    frames[0].save(file, format_, save_all=True, append_images=frames[1:], duration=100)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 100,000 x 100,000 pixels."""
    data = bytearray(png(size=(80, 80)))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF"])
def test_every_format_that_people_have_is_taken(format_: str) -> None:
    checked = check_picture(png(format_=format_), "cat.dat", LIMITS)
    with Image.open(BytesIO(checked.png)) as clean:
        assert (clean.format, clean.mode, clean.size) == ("PNG", "RGB", (80, 72))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "x.jpg is empty."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "markup"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><html></html>", "markup"),
        (b"GIF89a is not among them", "not a picture we can read"),
        (b"MZ\x90\x00 a program", "not a picture we can read"),
        (png()[:200], "cut off"),
        (png(format_="JPEG", size=(400, 400))[:3000], "cut off"),
        (animated("WEBP"), "animated (2 frames)"),
        (animated("PNG"), "animated (2 frames)"),
        (animated("GIF"), "not a picture we can read"),
    ],
)
def test_rubbish_is_refused_in_a_sentence_that_names_the_file(data: bytes, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_picture(data, "x.jpg", LIMITS)
    assert refused.value.message.startswith("x.jpg")
    assert said in refused.value.message


def test_what_is_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(TooLarge, match="a file may have at most 2 MB"):
        check_picture(b"\x89PNG" + bytes(2_000_001), "x.png", LIMITS)
    for data in (bomb(), png(size=(2100, 2000), format_="JPEG", quality=20)):
        with pytest.raises(TooLarge, match="more than 4 megapixels"):
            check_picture(data, "x.png", LIMITS)


def test_a_picture_is_turned_upright_and_loses_its_metadata() -> None:
    lying = Image.new("RGB", (90, 60), "white")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    exif[0x010E] = "where I live"
    file = BytesIO()
    lying.save(file, "JPEG", exif=exif, comment=b"secret")
    checked = check_picture(file.getvalue(), "phone.jpg", LIMITS)
    assert (checked.width_px, checked.height_px) == (60, 90)
    assert b"where I live" not in checked.png
    with Image.open(BytesIO(checked.png)) as clean:
        assert not clean.getexif()
        assert clean.info == {}


def test_transparent_pictures_are_put_on_white() -> None:
    file = BytesIO()
    Image.new("RGBA", (80, 80), (255, 0, 0, 0)).save(file, "PNG")
    with Image.open(BytesIO(check_picture(file.getvalue(), "logo.png", LIMITS).png)) as clean:
        assert clean.getpixel((40, 40)) == (255, 255, 255)


def test_a_file_cut_anywhere_is_refused_or_read_but_never_breaks() -> None:
    for format_ in ("JPEG", "PNG", "WEBP", "HEIF"):
        whole = png(format_=format_)
        for length in range(1, len(whole), max(1, len(whole) // 25)):
            with contextlib.suppress(AppError):  # nothing else may come out
                check_picture(whole[:length], "cut", LIMITS)


def test_small_few_and_equal_pictures_are_warned_about() -> None:
    small = check_picture(png(size=(20, 20)), "tiny.png", LIMITS)
    said = warn_about([small, check_picture(png(size=(20, 20), format_="WEBP", lossless=True), "again.webp", LIMITS)])
    assert any("tiny.png is small" in one for one in said)
    assert any("few" in one for one in said)
    assert any("again.webp is the same picture as tiny.png" in one for one in said)
