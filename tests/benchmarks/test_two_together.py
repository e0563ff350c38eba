"""Two in one picture: the measure of it, on pictures that are known."""

from types import MappingProxyType

import pytest

from benchmarks.two_together import draw_two, means, name_truly, take_sides
from cns.base_model import load_base
from storybook import MODEL_FOLDER
from storybook.individuals import find_individual
from storybook.likeness import find_likeness

ZIGI, BOLT = find_individual("zigi"), find_individual("bolt")


def test_each_half_of_a_drawn_scene_is_more_like_its_own_individual() -> None:
    likeness = find_likeness(MODEL_FOLDER)
    assert likeness is not None
    left, right = (likeness.image_features(side) for side in take_sides(draw_two(ZIGI, BOLT)))
    swapped_left, swapped_right = (likeness.image_features(side) for side in take_sides(draw_two(BOLT, ZIGI)))
    assert float((left @ swapped_right.T).mean()) > float((left @ swapped_left.T).mean()) + 0.2
    assert float((right @ swapped_left.T).mean()) > float((right @ swapped_right.T).mean()) + 0.2


def test_a_true_name_adds_to_the_noun_and_changes_no_weight() -> None:
    base = load_base(MODEL_FOLDER)
    version = name_truly(base, [ZIGI, BOLT])
    assert version.weights is base.kv_weights
    assert isinstance(version.tokens, MappingProxyType)
    assert set(version.tokens) == {"<zigi>", "<bolt>"}
    distance = float((version.tokens["<zigi>"][0] - base.token_vectors("mug")[0]).norm())
    assert 1 < distance < 6


def test_means_are_taken_over_pairs_for_each_place() -> None:
    assert means({"a,b": (0.2, 0.4), "b,a": (0.6, 0.0)}) == pytest.approx((0.4, 0.2))
