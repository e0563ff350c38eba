"""Draw the pictures of the sample concepts: `python -m storybook.make_samples` writes storybook/samples/<name>/."""

import argparse
import json
from pathlib import Path

from PIL import Image

from storybook import SAMPLES_FOLDER
from storybook.individuals import SAMPLES, find_individual, portraits
from storybook.world import draw

PICTURES = 5


def write_samples(folder: Path) -> None:
    """Five pictures of each sample on different backgrounds, and what it is called."""
    for index, name in enumerate(SAMPLES):
        individual = find_individual(name)
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(portraits(individual, PICTURES, seed=300 + index)):
            Image.fromarray(draw(scene)).save(home / f"{number}.png")
        (home / "concept.json").write_text(json.dumps({"name": name, "noun": individual.noun}) + "\n")


def main() -> None:
    argparse.ArgumentParser(description="Draw the pictures of the sample concepts anew.").parse_args()
    write_samples(SAMPLES_FOLDER)


if __name__ == "__main__":
    main()
