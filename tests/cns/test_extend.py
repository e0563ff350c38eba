"""A version written over another one is to the bit the one composed from the base, and disturbs nobody."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cns.base_model import BaseModel, load_base
from cns.compose import Version, compose, extend
from cns.delta import Delta
from cns.errors import DeltaError, WrongBase
from cns.unlearning import Option, forget
from tests.cns.test_compose import make_delta

Line = tuple[Delta, ...]
NAMES = ("rex", "momo", "zigi", "bolt", "fizz")


def are_the_same(one: Version, other: Version) -> bool:
    """Deltas, tokens, and every bit of every weight: NaN and -0.0 would not be told apart by their values."""
    return (
        [delta.digest for delta in one.deltas] == [delta.digest for delta in other.deltas]
        and one.weights.keys() == other.weights.keys()
        and all(torch.equal(bits(weight), bits(other.weights[layer])) for layer, weight in one.weights.items())
        and one.tokens.keys() == other.tokens.keys()
        and all(torch.equal(one.tokens[token][0], other.tokens[token][0]) for token in one.tokens)
    )


def bits(weight: Tensor) -> Tensor:
    return weight.detach().contiguous().view(torch.int32 if weight.element_size() == 4 else torch.int16)


def on_some_layers(delta: Delta, chance: random.Random) -> Delta:
    """The same at about half of its layers."""
    layers = [layer for layer in delta.positions if chance.random() < 0.5] or list(delta.positions)[:1]
    only = {
        name: {layer: getattr(delta, name)[layer] for layer in layers} for name in ("positions", "values", "shapes")
    }
    return replace(delta, **only)


def restoring(delta: Delta, base: BaseModel) -> Delta:
    """The same positions with what stands there in the base, as where a concept is unlearned."""
    values = {layer: base.kv_weights[layer].flatten()[where].half() for layer, where in delta.positions.items()}
    return replace(delta, values=values)


def go_on(base: BaseModel, line: Line, chance: random.Random) -> tuple[str, Line]:
    """One move of a history, by name, and where it leads: forget something, go back a little, or learn something.

    What is learned may restore what the base had, and may have been known and forgotten before.
    """
    unknown = [name for name in NAMES if name not in {delta.concept for delta in line}]
    move = chance.choice(["learn", "learn", "learn", "restore", "forget", "go back"])
    if move == "go back":
        return move, line[: -chance.randint(1, 2)]
    if move == "forget" and len(line) > 1:
        return move, forget(base, line, chance.choice(line[:-1]).concept, chance.choice(list(Option))).deltas
    if not unknown:
        return "go back", line[:-1]
    move = "restore" if move == "restore" else "learn"
    delta = make_delta(base, chance.choice(unknown), chance.randrange(10**6), share=0.4, parent=digest_of(line))
    delta = on_some_layers(delta, chance)
    return move, (*line, restoring(delta, base) if move == "restore" else delta)


def digest_of(line: Line) -> str | None:
    return line[-1].digest if line else None


def lines_of(base: BaseModel, seed: int, moves: int) -> tuple[Counter[str], list[Line]]:
    """How often a random history made which move, and every line that it has been at."""
    chance, line = random.Random(seed), Line()
    made: Counter[str] = Counter()
    reached, gone = [], set[str]()
    for _ in range(moves):
        before = {delta.concept for delta in line}
        move, line = go_on(base, line, chance)
        now = {delta.concept for delta in line}
        made.update([move, *(["learn again"] if now & gone else [])])
        gone = (gone | before) - now
        reached.append(line)
    return made, reached


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_over_any_beginning_of_any_line_it_is_the_one_composed_from_the_base(
    sd1_folder: Path, dtype: torch.dtype, device: torch.device
) -> None:
    base = load_base(sd1_folder, device=device, dtype=dtype)
    moves: Counter[str] = Counter()
    for seed in range(3):
        made, lines = lines_of(base, seed, moves=15)
        moves += made
        for line in lines:
            whole = compose(base, line)
            for length in range(len(line)):
                assert are_the_same(extend(base, compose(base, line[:length]), line[length:]), whole)
    assert all(moves[move] > 2 for move in ("learn", "learn again", "restore", "forget", "go back")), moves


def test_a_line_built_delta_by_delta_is_the_one_composed_at_once(sd1: BaseModel) -> None:
    _, lines = lines_of(sd1, seed=3, moves=15)
    line = max(lines, key=len)
    assert len(line) > 3
    version = compose(sd1)
    for delta in line:
        version = extend(sd1, version, [delta])
    assert are_the_same(version, compose(sd1, line))


def test_what_it_is_written_over_stays_as_it_was_for_whoever_holds_it(sd1: BaseModel) -> None:
    checksum = sd1.checksum()
    below = compose(sd1, [make_delta(sd1, "rex", 1)])
    before = {layer: weight.clone() for layer, weight in below.weights.items()}
    left, right = (extend(sd1, below, [make_delta(sd1, name, seed)]) for name, seed in (("momo", 2), ("zigi", 3)))
    assert all(torch.equal(weight, before[layer]) for layer, weight in below.weights.items())
    assert not are_the_same(left, right)
    assert set(below.tokens) == {"<rex>"}
    assert sd1.checksum() == checksum


def test_only_layers_that_are_written_are_copied(sd1: BaseModel) -> None:
    below = compose(sd1, [make_delta(sd1, "rex", 1)])
    touched = next(iter(sd1.kv_weights))
    delta = make_delta(sd1, "momo", 2)
    delta = replace(delta, positions={touched: delta.positions[touched]}, values={touched: delta.values[touched]})
    version = extend(sd1, below, [delta])
    assert [layer for layer in version.weights if version.weights[layer] is not below.weights[layer]] == [touched]
    assert version.weights[touched].data_ptr() != below.weights[touched].data_ptr()


def test_a_concept_that_the_version_knows_and_a_delta_of_another_base_are_refused(sd1: BaseModel) -> None:
    below = compose(sd1, [make_delta(sd1, "rex", 1)])
    with pytest.raises(DeltaError, match="twice"):
        extend(sd1, below, [make_delta(sd1, "rex", 2)])
    with pytest.raises(WrongBase):
        extend(sd1, below, [replace(make_delta(sd1, "momo", 2), base_id="00" * 32)])
