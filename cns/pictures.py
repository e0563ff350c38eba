"""Reading people's picture files: upright, RGB, and a sentence for whatever is no picture."""

from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cns.errors import CnsError

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 100_000_000  # a small file can unfold into more than the memory holds
PIECES = (0.7, 0.95)  # how much of a picture's side its pieces have, at least and at most
REFERENCE_PX = 256  # the shorter side of the copies kept for scoring: what CLIP sees of them is smaller still


class UnreadablePicture(CnsError):
    """A file that should be a picture cannot be read as one."""


def read_picture(path: str | Path, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """A PNG, JPEG or WebP file as RGB, turned the way the camera was held, transparency laid on white.

    formats: which of them it may be. Raises UnreadablePicture for whatever else there is.
    """
    path = Path(path)
    try:
        with Image.open(path, formats=formats) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise UnreadablePicture(
                    f"{path} has {opened.width} x {opened.height} pixels, which is more than is taken here."
                )
            return flatten(ImageOps.exif_transpose(opened))
    except UnreadablePicture:
        raise
    except FileNotFoundError as error:
        raise UnreadablePicture(f"There is no file {path}.") from error
    except Exception as error:  # of a damaged file Pillow raises whatever its parts do, struct.error and EOFError too
        raise UnreadablePicture(f"{path} cannot be read as a PNG, JPEG or WebP picture.") from error


def flatten(picture: Image.Image) -> Image.Image:
    """A picture as RGB; where it is transparent, white shows."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):  # grey in 16 bits, which converting would cut off at 255
        picture = picture.convert("I").point([level // 256 for level in range(65536)], "L")
        picture.info.pop("transparency", None)  # a level of those, not of these
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    ground = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(ground, layered).convert("RGB")


def cut_square(picture: Image.Image, side: int) -> Image.Image:
    """The largest centred square of a picture at `side` pixels, as RGB."""
    rgb = flatten(picture)
    square = min(rgb.size)
    left, top = (rgb.width - square) // 2, (rgb.height - square) // 2
    cropped = rgb.crop((left, top, left + square, top + square))
    return cropped if square == side else cropped.resize((side, side), Image.Resampling.LANCZOS)


def cut_pieces(picture: Image.Image, side: int, count: int, rng: Random) -> list[Image.Image]:
    """`count` pieces of the largest centred square of a picture, at `side` pixels, as RGB.

    Each is a square of a side and at a place that `rng` draws evenly, the side within PIECES of the whole one's.
    """
    rgb = flatten(picture)
    square = min(rgb.size)
    left, top = (rgb.width - square) // 2, (rgb.height - square) // 2
    pieces = []
    for _ in range(count):
        edge = max(1, round(square * rng.uniform(*PIECES)))
        across, down = (rng.randint(0, square - edge) for _ in range(2))
        box = (left + across, top + down, left + across + edge, top + down + edge)
        pieces.append(cut_square(rgb.crop(box), side))
    return pieces


def small_copy(picture: Image.Image) -> Image.Image:
    """A copy as RGB, shrunk where its shorter side is longer than REFERENCE_PX.

    The shorter side, as that is what encoders fit to what they see: by the longer one a wide picture would lose more.
    """
    small = flatten(picture)
    shorter = min(small.size)
    if shorter > REFERENCE_PX:
        width, height = (round(side * REFERENCE_PX / shorter) for side in small.size)
        small.thumbnail((width, height))
    return small


def to_latent_pixels(picture: Image.Image, side: int) -> Tensor:
    """The largest centred square of a picture at `side` pixels: (1, 3, side, side) float32 in -1..1."""
    pixels = torch.from_numpy(np.array(cut_square(picture, side))).permute(2, 0, 1).float()
    return (pixels / 127.5 - 1).unsqueeze(0)
