"""Uploads of every kind of rubbish answer with a sentence that names the file, and good ones come out clean."""

import contextlib
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageCms, ImageColor, ImageOps

from app.config import Settings
from app.errors import AppError, Invalid, TooLarge
from app.jpeg import has_more_scans
from app.pictures import LONGEST_SENT_PX, MOST_SCANS, check_picture, warn_about
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


def progressive(scans: int = 0) -> bytes:
    """A JPEG whose last scan comes `scans` times more, which takes a dozen bytes each."""
    whole = png(format_="JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * scans + whole[-2:]


def test_a_jpeg_that_is_drawn_over_and_over_is_refused_before_it_is_decoded() -> None:
    assert not has_more_scans(progressive(MOST_SCANS - 20), MOST_SCANS)
    with pytest.raises(Invalid, match=r"x\.jpg is a JPEG of more than 100 scans, which no camera makes"):
        check_picture(progressive(2 * MOST_SCANS), "x.jpg", LIMITS)


def test_what_looks_like_a_scan_in_notes_or_behind_the_picture_is_none() -> None:
    like_scans = b"\xff\xda\x00\x02" * 2 * MOST_SCANS
    film_behind = png(format_="JPEG", comment=like_scans) + like_scans
    assert check_picture(film_behind, "phone.jpg", LIMITS).width_px == 80
    assert check_picture(progressive(), "phone.jpg", LIMITS).width_px == 80
    assert not has_more_scans(like_scans, MOST_SCANS)  # no JPEG at all


QUARTERS = {(0, 0): "red", (1, 0): "lime", (0, 1): "blue", (1, 1): "white"}


def quartered(size: tuple[int, int], format_: str, mode: str = "RGB", **options: object) -> bytes:
    """Red and green above blue and white, or nothing at all where the white is."""
    clear = mode == "RGBA"
    picture = Image.new("RGBA" if clear else "RGB", size, (255, 255, 255, 0) if clear else "white")
    for (x, y), colour in QUARTERS.items():
        if colour != "white":
            box = tuple(place * side // 2 for place, side in zip((x, y, x + 1, y + 1), size * 2, strict=True))
            picture.paste(colour, box)  # type: ignore[arg-type]
    file = BytesIO()
    picture.convert(mode).save(file, format_, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(("format_", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA")])
@pytest.mark.parametrize("size", [(4500, 900), (6400, 4200), (2100, 2100), (9001, 333)])
def test_a_large_picture_is_made_smaller_piece_by_piece_and_shows_the_same(
    format_: str, mode: str, size: tuple[int, int]
) -> None:
    checked = check_picture(quartered(size, format_, mode), "x", Settings())
    assert (checked.width_px, checked.height_px) == (2048, round(2048 * size[1] / size[0]))
    with Image.open(BytesIO(checked.png)) as clean:
        clean.load()
    for (x, y), colour in QUARTERS.items():
        for near in (0.05, 0.45):  # far from the edges between them and near to one
            place = int((x * 0.5 + near) * clean.width), int((y * 0.5 + near) * clean.height)
            shown, wanted = clean.getpixel(place), ImageColor.getrgb(colour)
            assert all(abs(one - other) < 12 for one, other in zip(shown, wanted, strict=True)), (place, shown, wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_turned_as_its_camera_was_held(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = quartered((90, 60), "PNG", exif=exif)
    with Image.open(BytesIO(data)) as opened:
        wanted = ImageOps.exif_transpose(opened)
    with Image.open(BytesIO(check_picture(data, "x.png", LIMITS).png)) as clean:
        assert (clean.size, clean.tobytes()) == (wanted.size, wanted.tobytes())


def profile_of_a_camera() -> bytes:
    """One that is named as no other is, and whose greens are its reds."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(data[at : at + 4]): at + 4 for at in range(132, 132 + 12 * data[131], 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


def test_the_colours_of_a_profile_are_worked_out_once_for_a_picture_of_many_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    class Counted(ImageCms.ImageCmsTransform):
        def __init__(self, *given: object, **named: object):
            made.append(given)
            super().__init__(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageCms, "ImageCmsTransform", Counted)
    file = BytesIO()
    Image.new("RGB", (LONGEST_SENT_PX, 8), (255, 0, 0)).save(file, "PNG", icc_profile=profile_of_a_camera())
    with Image.open(BytesIO(check_picture(file.getvalue(), "line.png", LIMITS).png)) as clean:
        red, green, blue = clean.getpixel((clean.width - 1, 0))  # type: ignore[misc]
    assert len(made) == 1
    assert (red, blue) < (100, 100)
    assert green > 200


def test_a_side_of_millions_of_pixels_is_refused_before_it_is_decoded() -> None:
    for size in ((LONGEST_SENT_PX + 1, 1), (1, 2_500_000)):
        with pytest.raises(TooLarge, match=r"line\.png has a side of more than 30000 pixels\. Send a smaller one\."):
            check_picture(png(size=size)[:60], "line.png", LIMITS)  # of its pixels nothing is there


MEASURE = """
import resource, sys
from app.config import Settings
from app.pictures import check_picture
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small, large = (open(name, "rb").read() for name in sys.argv[1:])
check_picture(small, "small.png", Settings())
before = peak()
check_picture(large, "large.png", Settings())
print((peak() - before) * 1024)
"""


def test_a_large_picture_takes_not_much_more_memory_than_its_pixels(tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(png())
    side = 5000
    large.write_bytes(quartered((side, side), "PNG", "RGBA", compress_level=1))
    said = subprocess.run([sys.executable, "-c", MEASURE, small, large], check=True, capture_output=True, text=True)
    assert int(said.stdout) < 2.5 * 4 * side**2  # once more for its pieces; at once, there were six copies of it
