"""Lists of phrases in the words of the storybook's world, kept beside its weights: `python -m storybook.phrases`.

The lists that come with `cns` speak of photographs; this base has never read most of their words. A base folder that
has lists of its own is used with them: see `cns.phrases`.
"""

import argparse
from collections.abc import Collection
from pathlib import Path

import numpy as np

from storybook import MODEL_FOLDER
from storybook.world import BACKGROUNDS, NOUNS, caption, random_scene

CALIBRATION, GENERIC = 40, 20
HEADINGS = {
    "calibration_prompts.txt": "What is asked of this base in general; the first twenty are used unless a setting says "
    "otherwise.",
    "generic_prompts.txt": "Prompts that have to do with nobody's concept, to see whether they are drawn as before.",
    "phrase_bank.txt": 'What may follow "a photo of a mug" in a caption in this world.',
    "subject_bank.txt": "What a picture in some manner may show in this world.",
}


def diverse_captions(count: int, seed: int, without: Collection[str] = ()) -> list[str]:
    """Captions of scenes that name everything, single things and pairs in turn, neither noun nor place in a rut.

    Among a few hundred drawn ones, and none of `without`, the next is always the one whose words have come least often
    so far.
    """
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, two=float(turn % 2)) for turn in range(400)]
    plain = [scene for scene in scenes if all(placed.thing.look is None for placed in scene.placed)]
    texts = [text for text in dict.fromkeys(caption(scene, rng, whole=True) for scene in plain) if text not in without]
    seen: dict[str, int] = {}
    chosen: list[str] = []
    while len(chosen) < count:
        best = min(texts, key=lambda text: float(np.mean([seen.get(word, 0) for word in _telling(text)])))
        texts.remove(best)
        chosen.append(best)
        for word in _telling(best):
            seen[word] = seen.get(word, 0) + 1
    return chosen


def _telling(text: str) -> list[str]:
    """The words of a caption without "a", "an", "of", "on" and their like."""
    return [word for word in text.split() if len(word) > 2]


def write_phrases(folder: Path) -> None:
    """Write the four lists into the folder of the base."""
    generic = diverse_captions(GENERIC, seed=42)
    lists = {
        # What a learning is guarded by must not be what its harm is judged by.
        "calibration_prompts.txt": diverse_captions(CALIBRATION, seed=41, without=generic),
        "generic_prompts.txt": generic,
        "phrase_bank.txt": list(BACKGROUNDS),
        "subject_bank.txt": [f"a {noun}" for noun in NOUNS],
    }
    for name, lines in lists.items():
        (folder / name).write_text("\n".join([f"# {HEADINGS[name]}", *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=MODEL_FOLDER)
    write_phrases(parser.parse_args().folder)
