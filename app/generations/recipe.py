"""The recipe that a generated PNG carries in its text chunks, read without the method's library that wrote it."""

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

RECIPE_KEY = "palimpsest"


@dataclass(frozen=True)
class Recipe:
    """parameters: in the words that other programs for pictures show. complete: all that is needed to make it again."""

    parameters: str
    complete: dict[str, Any]


def read_recipe(png: bytes) -> Recipe | None:
    """None for a picture without one. Decodes no pixel unless a chunk follows them."""
    with Image.open(BytesIO(png), formats=["PNG"]) as opened:
        chunks = opened.text if isinstance(opened, PngImageFile) else {}
        if RECIPE_KEY not in chunks:
            return None
        return Recipe(str(chunks.get("parameters", "")), json.loads(chunks[RECIPE_KEY]))
