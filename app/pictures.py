"""Uploaded files: what is a picture that can be learned from, and what is not. Bytes in, a clean PNG or a sentence out.

The content decides, never the name. What would be dangerous or pointless is refused before a pixel is decoded.
"""

import hashlib
import re
import threading
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import pillow_heif
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from app.config import Settings
from app.errors import AppError, Invalid, TooLarge
from app.jpeg import has_more_scans
from app.sharpness import is_blurred

pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF")
LONGEST_SIDE_PX = 2048  # more than any base model looks at
LONGEST_SENT_PX = 30_000  # a line of millions of pixels shows nothing, and its pieces would be as many
SMALL_SIDE_PX = 64
LONGEST_NAME = 120
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# Of fifty megapixels, measured: a PNG takes up to 330 MB, a JPEG 170 or, where it is progressive, 450, HEIF and AVIF
# 450, and a WebP 780, nearly all of it inside of the decoders. A server does not decode many at a time.
_DECODING = threading.BoundedSemaphore(2)
MOST_SCANS = 100  # in a JPEG; of fifty megapixels they take 4 s. Cameras and programs make about ten.
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MARKUP = (b"<svg", b"<!doctype", b"<html", b"<?xml", b"<script")


@dataclass(frozen=True)
class CheckedPicture:
    """A picture as it is kept: upright RGB in a PNG without anything else in it.

    source_sha256: of the bytes that were uploaded, to notice the same file twice. warnings: sentences for its user.
    """

    png: bytes
    file_name: str
    width_px: int
    height_px: int
    source_sha256: str
    is_blurred: bool = False
    warnings: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Of the PNG, by which it is kept."""
        return hashlib.sha256(self.png).hexdigest()


def check_picture(data: bytes, file_name: str, limits: Settings) -> CheckedPicture:
    """Check, turn upright, strip, and encode anew. Raises Invalid or TooLarge with a sentence that names the file."""
    name = shown_name(file_name)
    _refuse_what_is_no_picture(data, name, limits)
    with _DECODING:
        clean = _decode(data, name, limits)
        file = BytesIO()
        clean.save(file, "PNG", compress_level=6)
        blurred = is_blurred(clean)  # once, while its pixels are at hand
    said = []
    if min(clean.size) < SMALL_SIDE_PX:
        said.append(f"{name} is small ({clean.width} x {clean.height} pixels): little can be learned from it.")
    return CheckedPicture(
        png=file.getvalue(),
        file_name=name,
        width_px=clean.width,
        height_px=clean.height,
        source_sha256=hashlib.sha256(data).hexdigest(),
        is_blurred=blurred,
        warnings=tuple(said),
    )


def shown_name(file_name: str) -> str:
    """The file's own name, without folders and without what would garble a line it stands in."""
    name = _NOT_IN_NAMES.sub("", file_name).replace("\\", "/").rpartition("/")[2].strip()
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 20]}...{name[-16:]}"  # the end tells pictures of one camera apart
    return name or "a file without a name"


def _decode(data: bytes, name: str, limits: Settings) -> Image.Image:
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as opened:
            _refuse_by_its_head(opened, name, limits)
            opened.draft(None, _fitting(opened.size))  # a JPEG is decoded at a half, a quarter or an eighth of its size
            opened.load()
            return _turned(_reduced(opened), opened.getexif().get(ExifTags.Base.Orientation))
    except AppError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise _too_many_pixels(name, limits) from None
    except UnidentifiedImageError:
        raise Invalid(f"{name} is not a picture we can read. Send JPEG, PNG, WebP, HEIC or AVIF.", "pictures") from None
    except Exception:  # decoders raise whatever a damaged byte leads them to: OSError, struct.error, KeyError, ...
        raise Invalid(f"{name} is damaged or cut off: it cannot be decoded to its end.", "pictures") from None


def _refuse_what_is_no_picture(data: bytes, name: str, limits: Settings) -> None:
    if not data:
        raise Invalid(f"{name} is empty.", "pictures")
    if len(data) > limits.max_file_bytes:
        raise TooLarge(
            f"{name} is too large: a file may have at most {limits.max_file_bytes / 1e6:.0f} MB.",
            "pictures",
        )
    if has_more_scans(data, MOST_SCANS):
        raise Invalid(
            f"{name} is a JPEG of more than {MOST_SCANS} scans, which no camera makes. Save it anew and send that.",
            "pictures",
        )
    if data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        raise Invalid(
            f"{name} is a text with markup (SVG, HTML), not a photograph. Send JPEG, PNG or WebP.", "pictures"
        )


def _refuse_by_its_head(opened: Image.Image, name: str, limits: Settings) -> None:
    """By what the file says of itself, before it is decoded."""
    if opened.width * opened.height > limits.max_pixels:
        raise _too_many_pixels(name, limits)
    if max(opened.size) > LONGEST_SENT_PX:
        raise TooLarge(f"{name} has a side of more than {LONGEST_SENT_PX} pixels. Send a smaller one.", "pictures")
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format not in ("MPO", "HEIF"):  # phones put a second view into these, not a film
        raise Invalid(f"{name} is animated ({frames} frames). Send a still picture.", "pictures")


def _too_many_pixels(name: str, limits: Settings) -> TooLarge:
    return TooLarge(f"{name} has more than {limits.max_pixels / 1e6:.0f} megapixels. Send a smaller one.", "pictures")


def _fitting(size: tuple[int, int]) -> tuple[int, int]:
    """The largest size of these proportions that is kept."""
    longest = max(*size, LONGEST_SIDE_PX)
    return max(1, size[0] * LONGEST_SIDE_PX // longest), max(1, size[1] * LONGEST_SIDE_PX // longest)


def _reduced(opened: Image.Image) -> Image.Image:
    """In RGB, and no larger than is kept. A new picture, so that nothing but pixels comes along.

    Piece by piece: every change of colours and of size makes copies, and those of a whole picture would take several
    times what it takes itself. Each pixel of the result is first the mean of a square of pixels.
    """
    factor = max(1, max(opened.size) // LONGEST_SIDE_PX)
    side = factor * max(1, LONGEST_SIDE_PX // factor)
    clean = Image.new("RGB", (-(-opened.width // factor), -(-opened.height // factor)))
    colours = _Colours(opened.info.get("icc_profile"))
    for top in range(0, opened.height, side):
        for left in range(0, opened.width, side):
            right, bottom = min(left + side, opened.width), min(top + side, opened.height)
            piece = _to_rgb(opened.crop((left, top, right, bottom)), colours)
            clean.paste(piece if factor == 1 else piece.reduce(factor), (left // factor, top // factor))
    if max(clean.size) > LONGEST_SIDE_PX:
        clean.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
    return clean


def _turned(picture: Image.Image, orientation: object) -> Image.Image:
    """Upright. orientation: what the camera noted, 1 to 8."""
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image, colours: "_Colours") -> Image.Image:
    """RGB, on white where it is transparent."""
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture).convert("RGB")
    elif picture.mode.startswith("I;16") or picture.mode == "I":
        picture = picture.convert("I").point([level // 256 for level in range(65536)], "L")  # 16 bits to 8
    return colours.to_srgb(picture).convert("RGB")


class _Colours:
    """The way from the colours of a picture's own profile to sRGB, as nobody reads a profile later: phones write wider
    ones. It is worked out once for all pieces, as that takes longer than a small piece.
    """

    def __init__(self, profile: bytes | None):
        self._profile = profile
        self._ways: dict[str, ImageCms.ImageCmsTransform | None] = {}  # by mode, and all pieces have the same

    def to_srgb(self, piece: Image.Image) -> Image.Image:
        """RGB without the profile; the piece as it is where there is no way."""
        if not self._profile or piece.mode not in ("RGB", "L", "CMYK"):
            return piece
        if piece.mode not in self._ways:
            self._ways[piece.mode] = _way_to_srgb(self._profile, piece.mode)
        way = self._ways[piece.mode]
        return piece if way is None else way.apply(piece)


def _way_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(own):
            return None  # converting would move values by a rounding error
        return ImageCms.buildTransform(own, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # a damaged profile, or one for another kind of picture, is as good as none


def warn_about(pictures: list[CheckedPicture]) -> list[str]:
    """Sentences about the pictures together: too few, the same twice."""
    said = [warning for picture in pictures for warning in picture.warnings]
    if 0 < len(pictures) < 3:
        count = "One picture is" if len(pictures) == 1 else "Two pictures are"
        said.append(f"{count} few: with 3 to 10, the concept is told from its background better.")
    seen: dict[str, str] = {}
    for picture in pictures:
        if picture.sha256 in seen:
            said.append(f"{picture.file_name} is the same picture as {seen[picture.sha256]}; it teaches nothing more.")
        seen.setdefault(picture.sha256, picture.file_name)
    return said
