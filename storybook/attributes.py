"""What a caption can say about a scene, as class numbers: the labels of the contrastive stage and of the judge."""

import torch
from torch import Tensor

from storybook.world import BACKGROUNDS, COLOURS, NOUNS, PATTERNS, Scene

UNKNOWN = -100  # cross-entropy ignores it: a colour outside the palette has no name
NOTHING = 0  # the right-hand slot of a picture with one thing

_nouns = {noun: index + 1 for index, noun in enumerate(NOUNS)}
_colours = {colour: index + 1 for index, colour in enumerate(COLOURS)}
_patterns = {pattern: index + 1 for index, pattern in enumerate(PATTERNS)}
_backgrounds = {background: index for index, background in enumerate(BACKGROUNDS)}

# One read-out each; the left slot holds the only thing of a picture with one.
HEADS: dict[str, int] = {
    "left_noun": len(NOUNS) + 1,
    "left_colour": len(COLOURS) + 1,
    "left_second": len(COLOURS) + 1,
    "left_pattern": len(PATTERNS) + 1,
    "right_noun": len(NOUNS) + 1,
    "right_colour": len(COLOURS) + 1,
    "right_second": len(COLOURS) + 1,
    "right_pattern": len(PATTERNS) + 1,
    "background": len(BACKGROUNDS),
}


def label_scene(scene: Scene) -> list[int]:
    """Class numbers of one scene in the order of `HEADS`; UNKNOWN where the scene has what no word names."""
    labels: list[int] = []
    for slot in range(2):
        if slot >= len(scene.placed):
            labels += [NOTHING, NOTHING, NOTHING, NOTHING]
            continue
        thing = scene.placed[slot].thing
        named = thing.colour is not None
        unnamed_pattern = thing.look is not None and thing.look.pattern is not None
        labels.append(_nouns[thing.noun])
        labels.append(_colours[thing.colour] if thing.colour is not None and not unnamed_pattern else UNKNOWN)
        labels.append(
            UNKNOWN if not named or unnamed_pattern else _colours[thing.second] if thing.second is not None else NOTHING
        )
        labels.append(UNKNOWN if unnamed_pattern or not named else _patterns[thing.pattern])
    labels.append(_backgrounds[scene.background])
    return labels


def label_scenes(scenes: list[Scene]) -> Tensor:
    """(n, 9) int64 class numbers, columns as in `HEADS`."""
    return torch.tensor([label_scene(scene) for scene in scenes])
