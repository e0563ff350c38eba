"""Concepts that come with the embedded base, for whoever wants to see it work before they look for pictures."""

import json
from dataclasses import dataclass
from pathlib import Path

from app.config import Settings
from app.errors import NotFound
from app.pictures import CheckedPicture, check_picture

FOLDER = Path(__file__).resolve().parents[2] / "storybook" / "samples"
EMBEDDED = "storybook"


@dataclass(frozen=True)
class SampleConcept:
    """A folder of pictures with a name and a noun."""

    name: str
    class_noun: str
    pictures: tuple[Path, ...]


def sample_concepts(base_name: str) -> list[SampleConcept]:
    """Those that fit a base; none for bases that are not ours, and none where they were not installed."""
    if base_name != EMBEDDED or not FOLDER.is_dir():
        return []
    found = []
    for described in sorted(FOLDER.glob("*/concept.json")):
        about = json.loads(described.read_text(encoding="utf-8"))
        pictures = tuple(sorted(described.parent.glob("*.png")))
        found.append(SampleConcept(about["name"], about["noun"], pictures))
    return found


def sample_concept(base_name: str, name: str) -> SampleConcept:
    for sample in sample_concepts(base_name):
        if sample.name == name:
            return sample
    raise NotFound("There is no such sample.")


def read_sample(sample: SampleConcept, limits: Settings) -> list[CheckedPicture]:
    """Its pictures, as if somebody had sent them."""
    return [check_picture(path.read_bytes(), path.name, limits) for path in sample.pictures]
