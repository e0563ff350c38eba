"""The recipe of a generated picture, and PNG files that carry it.

Two text chunks: `parameters`, in the words that many picture programs show, and `palimpsest`, which is JSON and
complete: with the same base, deltas and library versions it makes the picture again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cns import __version__
from cns.base_model import BaseModel
from cns.delta import Delta
from cns.denoise import GenerationRequest

RECIPE_KEY = "palimpsest"
SAMPLER_NAMES = {"ddim": "DDIM", "euler": "Euler", "dpm++2m": "DPM++ 2M", "unipc": "UniPC"}


def recipe_of(
    base: BaseModel, deltas: Sequence[Delta], request: GenerationRequest, version: int | None = None
) -> dict[str, Any]:
    """Everything a picture depends on, as JSON. version: its number in a history, where there is one.

    regions: only where there are any, a list of their prompts and edges.
    """
    asked = asdict(request)
    regions = list(asked.pop("regions"))
    return {
        **asked,
        **({"regions": regions} if regions else {}),
        "width_px": request.width_px or base.native_px,
        "height_px": request.height_px or base.native_px,
        "base_id": base.id,
        "dtype": str(base.dtype).removeprefix("torch."),
        "version": version,
        "deltas": [{"concept": delta.concept, "sha256": delta.digest} for delta in deltas],
        "made_by": f"palimpsest {__version__}",
    }


def parameters_text(recipe: dict[str, Any]) -> str:
    """A recipe as the lines of text that picture programs write under `parameters`."""
    lines = [recipe["prompt"]]
    if recipe["negative_prompt"]:
        lines.append(f"Negative prompt: {recipe['negative_prompt']}")
    settings = {
        "Steps": recipe["steps"],
        "Sampler": SAMPLER_NAMES.get(recipe["sampler"], recipe["sampler"]),
        "CFG scale": recipe["guidance"],
        "Seed": recipe["seed"],
        "Size": f"{recipe['width_px']}x{recipe['height_px']}",
        "Model hash": recipe["base_id"][:10],
        "Version": recipe["made_by"],
    }
    if recipe.get("regions"):
        settings["Regions"] = len(recipe["regions"])
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in settings.items())])


def to_png(picture: Image.Image, recipe: dict[str, Any]) -> bytes:
    """A picture as a PNG file with its recipe inside; the same picture and recipe give the same bytes."""
    chunks = PngInfo()
    chunks.add_text("parameters", parameters_text(recipe))
    chunks.add_text(RECIPE_KEY, json.dumps(recipe, sort_keys=True))
    buffer = BytesIO()
    picture.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def read_recipe(png: Image.Image) -> dict[str, Any] | None:
    """The recipe inside a picture that was opened from a PNG file; None when it has none."""
    text = getattr(png, "text", {}).get(RECIPE_KEY)
    return None if text is None else json.loads(text)
