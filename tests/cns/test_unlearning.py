"""Forgetting at once: what only the forgotten concept owned is as before it, what is shared is what was asked for."""

from dataclasses import replace

import pytest
import torch

from cns.base_model import BaseModel
from cns.compose import compose
from cns.delta import Delta
from cns.forgetting import plan_forgetting
from cns.settings import LearningSettings
from cns.unlearning import FORGOTTEN, NothingToForget, Option, forget
from tests.cns.test_compose import make_delta


@pytest.fixture
def line(sd1: BaseModel) -> tuple[Delta, ...]:
    """Three concepts, each learned on top of the one before; their entries overlap."""
    deltas: list[Delta] = []
    for seed, name in enumerate(("rex", "momo", "tom"), start=1):
        deltas.append(make_delta(sd1, name, seed, parent=deltas[-1].digest if deltas else None))
    return tuple(deltas)


def held(delta: Delta, layer: str) -> torch.Tensor:
    """(out * in,) bool: the entries that a delta holds in a layer."""
    mask = torch.zeros(delta.shapes[layer][0] * delta.shapes[layer][1], dtype=torch.bool)
    mask[delta.positions[layer]] = True
    return mask


@pytest.mark.parametrize("option", Option)
def test_what_only_the_forgotten_concept_owned_is_as_before_it_to_the_bit(
    sd1: BaseModel, line: tuple[Delta, ...], option: Option
) -> None:
    rex, momo, tom = line
    done = forget(sd1, line, "momo", option)
    before, after = compose(sd1, [rex]), compose(sd1, done.deltas)
    for layer in momo.positions:
        alone = held(momo, layer) & ~held(tom, layer)
        assert alone.any()
        assert torch.equal(after.weights[layer].flatten()[alone], before.weights[layer].flatten()[alone])
    assert list(after.tokens) == ["<rex>", "<tom>"]
    assert done.returned + done.shared == momo.size


@pytest.mark.parametrize("option", Option)
def test_shared_entries_move_by_their_share_of_what_the_forgotten_concept_changed(
    sd1: BaseModel, line: tuple[Delta, ...], option: Option
) -> None:
    rex, momo, tom = line
    done = forget(sd1, line, "momo", option)
    below, full = compose(sd1, [rex]).weights, compose(sd1, [rex, momo]).weights
    for layer in momo.positions:
        both = held(momo, layer) & held(tom, layer)
        assert both.any()
        was = compose(sd1, line).weights[layer].flatten()[both]
        shift = option.share * (below[layer] - full[layer]).flatten()[both]
        now = compose(sd1, done.deltas).weights[layer].flatten()[both]
        assert torch.equal(now, (was + shift).half().float())


def test_what_a_later_concept_owns_alone_stays(sd1: BaseModel, line: tuple[Delta, ...]) -> None:
    _, momo, tom = line
    (again,) = forget(sd1, line, "momo", Option.REBASED).after
    for layer in tom.positions:
        own = ~torch.isin(tom.positions[layer], momo.positions[layer])
        assert torch.equal(again.values[layer][own], tom.values[layer][own])


def test_every_later_concept_carries_the_shift(sd1: BaseModel, line: tuple[Delta, ...]) -> None:
    """Of two later concepts that hold an entry the last one's value counts, so the shift may not stop at the first."""
    rex, momo, tom = line
    done = forget(sd1, line, "rex", Option.REBASED)
    for layer, weight in sd1.kv_weights.items():
        all_three = held(rex, layer) & held(momo, layer) & held(tom, layer)
        shift = weight.flatten() - compose(sd1, [rex]).weights[layer].flatten()
        expected = compose(sd1, line).weights[layer].flatten() + shift
        now = compose(sd1, done.deltas).weights[layer].flatten()
        assert all_three.any()
        assert torch.equal(now[all_three], expected[all_three].half().float())


def test_the_new_line_has_parents_of_its_own_and_says_what_was_done(sd1: BaseModel, line: tuple[Delta, ...]) -> None:
    _, momo, tom = line
    done = forget(sd1, line, "rex")
    first, second = done.after
    assert (first.parent, second.parent) == (None, first.digest)
    assert {first.digest, second.digest}.isdisjoint({momo.digest, tom.digest})
    assert first.token_vectors == momo.token_vectors
    (said,) = first.report[FORGOTTEN]
    assert (said["option"], said["share"]) == ("kept", 0.0)
    assert 0 < said["shared"] < momo.size
    again = forget(sd1, done.deltas, "momo").after[0]
    assert len(again.report[FORGOTTEN]) == 2


def test_nothing_that_was_given_is_changed(sd1: BaseModel, line: tuple[Delta, ...]) -> None:
    digests, checksum = [delta.digest for delta in line], sd1.checksum()
    values = {layer: part.clone() for layer, part in line[1].values.items()}
    forget(sd1, line, "rex", Option.BLENDED)
    assert [delta.digest for delta in line] == digests
    assert all(torch.equal(line[1].values[layer], part) for layer, part in values.items())
    assert sd1.checksum() == checksum


def test_forgetting_the_last_concept_is_going_back(sd1: BaseModel, line: tuple[Delta, ...]) -> None:
    done = forget(sd1, line, "tom")
    assert (done.deltas, done.after, done.shared) == (line[:2], (), 0)


def test_a_stranger_cannot_be_forgotten(sd1: BaseModel, line: tuple[Delta, ...]) -> None:
    with pytest.raises(NothingToForget, match=r"<max>.*<rex>, <momo>, <tom>"):
        forget(sd1, line, "max")


def test_a_rewritten_delta_survives_its_file(sd1: BaseModel, line: tuple[Delta, ...]) -> None:
    (again,) = forget(sd1, line, "momo", Option.BLENDED).after
    assert Delta.from_bytes(again.to_bytes(), base_id=sd1.id).digest == again.digest


def test_the_plan_of_exact_forgetting_has_every_later_lesson_as_it_was(sd1: BaseModel) -> None:
    settings = LearningSettings(steps=7, seed=3)
    rex, momo = make_delta(sd1, "rex", 1), make_delta(sd1, "momo", 2)
    momo = replace(momo, settings=settings.to_json(), report={"captions": ["a <momo> cat", "the <momo> cat"]})
    plan = plan_forgetting([rex, momo], "rex")
    (lesson,) = plan.lessons
    assert (plan.forgotten, plan.before) == (rex, ())
    assert (lesson.name, lesson.class_noun, lesson.settings) == ("momo", "cat", settings)
    assert lesson.captions == ("a <momo> cat", "the <momo> cat")
