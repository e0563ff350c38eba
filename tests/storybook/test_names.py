"""A name says how a thing looks, by a vector that no word has."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from storybook.individuals import INDIVIDUALS, find_individual
from storybook.names import LENGTH, Namer, look_facts
from storybook.unet_stage import write_captions
from storybook.world import NOUNS, Look, Thing, caption, random_scene

WIDTH = 192


@pytest.fixture
def namer() -> Namer:
    generator = torch.Generator().manual_seed(1)
    return Namer({noun: 0.03 * torch.randn(WIDTH, generator=generator) for noun in NOUNS})


def test_two_names_of_one_thing_are_nearer_to_each_other_than_to_a_name_of_another(namer: Namer) -> None:
    rng = np.random.default_rng(2)
    mugs = [who.thing for who in INDIVIDUALS if who.noun == "mug"]
    first = torch.stack([namer.name(thing, rng) for thing in mugs])
    second = torch.stack([namer.name(thing, rng) for thing in mugs])
    nearest = torch.cdist(first, second).argmin(dim=1)
    assert nearest.tolist() == list(range(len(mugs)))


def test_a_name_starts_from_its_noun_and_stays_about_as_long_as_a_word(namer: Namer) -> None:
    rng = np.random.default_rng(3)
    things = [who.thing for who in INDIVIDUALS]
    added = torch.stack([namer.name(thing, rng) - namer.nouns[thing.noun] for thing in things])
    assert 0.5 * LENGTH < float(added.norm(dim=1).mean()) < 2 * LENGTH


def test_the_same_seeds_give_the_same_name(namer: Namer) -> None:
    again = Namer(namer.nouns)
    thing = find_individual("zigi").thing
    names = [each.name(thing, np.random.default_rng(4)) for each in (namer, again)]
    assert torch.equal(*names)


def test_what_a_name_says_depends_on_each_part_of_a_look() -> None:
    thing = find_individual("momo").thing
    assert thing.look is not None
    changes = {"main": (1, 2, 3), "second": (4, 5, 6), "part": (7, 8, 9), "pattern": "rings", "face": "grin"}
    changes |= {"emblem": "ring", "emblem_rgb": (3, 2, 1)}
    told = look_facts(thing)
    for part, value in changes.items():
        other = replace(thing, look=replace(thing.look, **{part: value}))
        assert look_facts(other) != told, part
    assert look_facts(Thing("mug", "red", None, "plain", None)) == look_facts(
        Thing("mug", "red", None, "plain", Look())
    )


def test_captions_of_training_call_some_things_by_a_name_and_bring_its_vector(namer: Namer) -> None:
    rng = np.random.default_rng(5)
    scenes = [random_scene(rng, plain_look=0.5) for _ in range(300)]
    texts, names = write_captions(scenes, namer, rng)
    assert len(texts) == len(scenes)
    said = [word for text in texts for word in text.split() if word.startswith("<")]
    assert sorted(said) == sorted(names)
    assert all(vector.shape == (WIDTH,) for vector in names.values())
    named = sum(any(f"<{row}-{place}>" in names for place in range(2)) for row in range(len(scenes)))
    assert 0.3 < named / len(scenes) < 0.7
    assert 0.05 < texts.count("") / len(texts) < 0.2


def test_a_named_thing_is_called_by_its_noun_and_nothing_else_is_said_of_it() -> None:
    rng = np.random.default_rng(6)
    scene = random_scene(rng, two=1.0, plain_look=1.0)
    left, right = (placed.thing for placed in scene.placed)
    words = caption(scene, rng, whole=True, names=["<a>", None])
    assert f"a <a> {left.noun} {scene.relation}" in words
    assert str(right.colour) in words
