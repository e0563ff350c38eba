"""Pictures as a vision model wants them, following the preprocessor_config.json that comes with its weights.

Done with Pillow and torch alone: the library's own image processors ask for torchvision or differ between versions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cns.errors import CnsError

Pictures = Tensor | Sequence[Image.Image]
"""Pixels (n, 3, height, width), float in 0..1, or Pillow pictures of any sizes."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class PreprocessingError(CnsError):
    """How a vision model wants its pictures cannot be found out, or what was handed in is no pictures."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture, in this order: resized, cropped at its centre, normalised per channel.

    size: an int is the shorter side's new length in pixels, a pair is (height, width) whatever the aspect; None keeps.
    crop: (height, width) in pixels; black fills what the picture lacks; None keeps.
    """

    size: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: int = Image.Resampling.BICUBIC

    def prepare(self, pictures: Pictures) -> Tensor:
        """Pictures -> (n, 3, height, width) float32, normalised."""
        if isinstance(pictures, Tensor):
            pictures = to_pillow(pictures)
        if not pictures:
            raise PreprocessingError("There are no pictures to look at.")
        prepared = [self._prepare_one(picture) for picture in pictures]
        if len({pixels.shape for pixels in prepared}) > 1:
            raise PreprocessingError("Pictures of different sizes need a model that resizes them all to one.")
        return torch.stack(prepared)

    def _prepare_one(self, picture: Image.Image) -> Tensor:
        picture = picture.convert("RGB")
        if self.size is not None:
            picture = picture.resize(_new_size(picture, self.size), Image.Resampling(self.resample))
        if self.crop is not None:
            height, width = self.crop
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            picture = picture.crop((left, top, left + width, top + height))
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255  # (3, height, width)
        mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (self.mean, self.std))
        return (pixels - mean) / std


def to_pillow(pixels: Tensor) -> list[Image.Image]:
    """Pixels (n, 3, height, width), float in 0..1 -> pictures with the 256 levels that a file would hold.

    So a picture gets the same score whether it comes from memory or from its file.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
        raise PreprocessingError(
            f"Pixels must be floats of shape (n, 3, height, width), not {pixels.dtype} of {tuple(pixels.shape)}."
        )
    levels = (pixels.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(picture) for picture in levels.permute(0, 2, 3, 1).cpu().numpy()]


def read_preprocessing(folder: Path) -> Preprocessing:
    """The preprocessing that a model folder asks for; PreprocessingError when it does not say."""
    for name, section in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            return parse_preprocessing(config[section] if section else config)
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError) as error:
            raise PreprocessingError(f"{name} in {folder.name} cannot be understood: {error}") from error
    raise PreprocessingError(f"{folder.name} lacks preprocessor_config.json, which says how pictures are prepared.")


def parse_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """A preprocessor_config.json as a value. Older files give sizes as one number: CLIP's mean the shorter side by it.

    What CLIP's and BLIP's processors leave out when it is their default is filled in as they do.
    """
    crops = bool(config.get("do_center_crop", "crop_size" in config))
    normalises = config.get("do_normalize", True)
    return Preprocessing(
        size=_parse_size(config["size"], square=not crops) if config.get("do_resize", True) else None,
        crop=_parse_box(config["crop_size"]) if crops else None,
        mean=tuple(config.get("image_mean", CLIP_MEAN)) if normalises else (0.0, 0.0, 0.0),
        std=tuple(config.get("image_std", CLIP_STD)) if normalises else (1.0, 1.0, 1.0),
        resample=config.get("resample", Image.Resampling.BICUBIC),
    )


def _parse_size(size: int | Mapping[str, int], *, square: bool) -> int | tuple[int, int]:
    if isinstance(size, int):
        return (size, size) if square else size
    return size["shortest_edge"] if "shortest_edge" in size else _parse_box(size)


def _parse_box(size: int | Mapping[str, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size["height"], size["width"])


def _new_size(picture: Image.Image, size: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height), as Pillow counts."""
    if not isinstance(size, int):
        return size[1], size[0]
    short = min(picture.size)
    return int(size * picture.width / short), int(size * picture.height / short)
