"""Groups of scenes differ in one thing only, and labels say what a caption can say."""

from dataclasses import replace

import numpy as np

from storybook.attributes import HEADS, UNKNOWN, label_scene
from storybook.groups import GROUP, contrast_group
from storybook.world import BACKGROUNDS, Look, Placed, Scene, Thing


def _changing(scenes: list[Scene]) -> set[str]:
    changing = set()
    if len({scene.background for scene in scenes}) > 1:
        changing.add("background")
    for slot in range(len(scenes[0].placed)):
        things = [scene.placed[slot].thing for scene in scenes]
        if len({(thing.colour, thing.noun, thing.pattern, thing.second, thing.look) for thing in things}) > 1:
            changing.add(f"thing {slot}")
    return changing


def test_a_group_varies_one_thing_or_the_background_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    groups = [contrast_group(rng) for _ in range(60)]
    assert all(len(group) == GROUP for group in groups)
    assert all(len(_changing(group)) == 1 for group in groups)


def _mug(**changes: object) -> Scene:
    thing = replace(Thing("mug", "red", None, "plain", None), **changes)  # type: ignore[arg-type]
    return Scene((Placed(thing, 0.5, 0.5, 0.7),), BACKGROUNDS[0], None, 1)


def test_labels_name_what_has_a_name() -> None:
    labels = dict(zip(HEADS, label_scene(_mug()), strict=True))
    assert labels["left_noun"] > 0
    assert labels["right_noun"] == 0
    assert labels["left_second"] == 0
    assert UNKNOWN not in labels.values()


def test_a_colour_off_the_palette_has_no_label() -> None:
    labels = dict(zip(HEADS, label_scene(_mug(colour=None, look=Look(main=(20, 160, 160)))), strict=True))
    assert labels["left_colour"] == UNKNOWN
    assert labels["left_noun"] > 0


def test_an_unnamed_pattern_hides_pattern_and_colour_but_not_the_noun() -> None:
    scene = _mug(look=Look(pattern="zigzag", second=(228, 28, 140)))
    labels = dict(zip(HEADS, label_scene(scene), strict=True))
    assert labels["left_pattern"] == UNKNOWN
    assert labels["left_colour"] == UNKNOWN
    assert labels["left_noun"] > 0
