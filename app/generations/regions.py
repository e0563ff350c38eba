"""Regions: boxes in a picture, each with a prompt of its own, as they are checked and kept."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.errors import Invalid
from app.forms import Typed
from app.texts import written

MOST_REGIONS = 8  # as many as `cns.regions` takes; a test of the worker's holds the two equal
EDGES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Region:
    """left, top, right, bottom: shares of the picture's width and height, 0..1 from its top left corner."""

    prompt: str
    left: float
    top: float
    right: float
    bottom: float


def checked_regions(regions: Sequence[Region], longest_prompt: int) -> list[dict[str, Any]]:
    """What is kept of them: their fields, as JSON. Invalid, with the field such as `regions.0.prompt`."""
    if len(regions) > MOST_REGIONS:
        raise Invalid(f"A picture has at most {MOST_REGIONS} regions, not {len(regions)}.", field="regions")
    kept = []
    for place, region in enumerate(regions):
        name = f"regions.{place}"
        prompt = written(region.prompt, f"{name}.prompt", longest_prompt, f"The prompt of region {place + 1}")
        if not prompt:
            raise Invalid(f"What shall be in region {place + 1}? Its prompt is empty.", field=f"{name}.prompt")
        if not (0 <= region.left < region.right <= 1 and 0 <= region.top < region.bottom <= 1):
            raise Invalid(
                f"Region {place + 1} must lie inside the picture, its left edge before its right one and its top above "
                "its bottom.",
                field=f"{name}.left",
            )
        kept.append({**asdict(region), "prompt": prompt})
    return kept


def in_order(regions: Collection[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Regions as they are kept, to be read by people: the prompt first. The database has an order of its own."""
    return [{name: region[name] for name in ("prompt", *EDGES)} for region in regions]


def prompts_of(regions: Collection[Mapping[str, Any]]) -> list[str]:
    """The prompts of regions as they are kept."""
    return [region["prompt"] for region in regions]


# --- in a form: fields such as `regions.0.prompt`, with edges in percent ----------------------------------------------


def fields_of(regions: Collection[Mapping[str, Any]]) -> dict[str, str]:
    """Regions as they are kept -> the fields of the form."""
    return {
        f"regions.{place}.{part}": region["prompt"] if part == "prompt" else f"{100 * region[part]:.12g}"
        for place, region in enumerate(regions)
        for part in ("prompt", *EDGES)
    }


def gathered(values: Mapping[str, str]) -> dict[str, str]:
    """What was typed, without the regions that were left empty: the others are the first ones, in their order."""
    rows = [
        {part: values.get(f"regions.{place}.{part}", "").strip() for part in ("prompt", *EDGES)}
        for place in range(MOST_REGIONS)
    ]
    filled = [row for row in rows if any(row.values())]
    others = {name: value for name, value in values.items() if not name.startswith("regions.")}
    return others | {f"regions.{place}.{part}": text for place, row in enumerate(filled) for part, text in row.items()}


def typed_regions(form: Typed) -> list[Region]:
    """The regions of a form whose values were gathered. Invalid, with the field, for an edge that is missing."""
    found = []
    for place in range(MOST_REGIONS):
        if f"regions.{place}.prompt" not in form.values:
            break
        edges = {}
        for edge in EDGES:
            name = f"regions.{place}.{edge}"
            percent = form.decimal(name, f"The {edge} edge of region {place + 1}")
            if percent is None:
                raise Invalid(f"Where is the {edge} edge of region {place + 1}, in percent of the picture?", field=name)
            edges[edge] = percent / 100
        found.append(Region(form.text(f"regions.{place}.prompt"), **edges))
    return found
