"""Versions are measured on the same pictures on their day and later."""

import pytest

from tests.tiny_clip import random_pictures
from tests.worker.world import World
from worker.learning import learn
from worker.process import Worker


@pytest.mark.parametrize("size", [(2000, 400), (960, 540)])
def test_a_concept_that_is_drawn_as_on_its_day_has_lost_nothing_however_its_pictures_are_shaped(
    worker: Worker, world: World, size: tuple[int, int]
) -> None:
    history = world.history()
    shaped = [picture.resize(size) for picture in random_pictures(3, seed=3)]
    learn(worker, world.learning(history, "rex", pictures=shaped, reach="token"))
    learn(worker, world.learning(history, "tom", reach="token"))
    found = world.version(history, 2).diagnosis
    (remembered,) = (finding for finding in found if finding["signature"] == "forgetting")
    assert (remembered["concept"], remembered["value"]) == ("rex", 0.0)
