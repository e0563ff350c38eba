"""Weights are made of those at hand, are right after going back and branching, and stay within bounds."""

from dataclasses import replace

import pytest
import torch

from app.storage import BlobStore
from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, to_pictures
from cns.denoise import generate as generate_alone
from cns.errors import DeltaError
from cns.recipe import recipe_of, to_png
from tests.cns.test_compose import make_delta
from tests.worker.world import World
from worker.composed import VersionCache
from worker.equipment import Equipment
from worker.generating import generate
from worker.learning import learn
from worker.process import Worker
from worker.reports import holds
from worker.versions import Versions

ROOM = 100_000_000


@pytest.fixture
def base(equipment: Equipment) -> BaseModel:
    return equipment.base


def line_of(base: BaseModel, *names: str) -> list[Delta]:
    """Deltas one on top of the other; the same names give the same deltas."""
    line: list[Delta] = []
    for name in names:
        line.append(make_delta(base, name, seed=len(name), parent=line[-1].digest if line else None))
    return line


def is_right(base: BaseModel, version: Version, deltas: list[Delta]) -> bool:
    expected = compose(base, deltas)
    return (
        version.deltas == expected.deltas
        and version.tokens.keys() == expected.tokens.keys()
        and all(torch.equal(version.weights[layer], weight) for layer, weight in expected.weights.items())
    )


def counts(cache: VersionCache) -> tuple[int, int, int]:
    return cache.hits, cache.extended, cache.misses


def bytes_of_one(base: BaseModel) -> int:
    weights = list(base.kv_weights.values())
    return sum(weight.nbytes for weight in weights) + 4 * weights[0].shape[1] ** 2  # and what a learning leaves there


def test_the_next_version_is_made_of_the_one_before_and_the_same_again_is_there(base: BaseModel) -> None:
    cache, line = VersionCache(base, ROOM), line_of(base, "a", "bb", "ccc")
    for length in (1, 2, 3, 3):
        assert is_right(base, cache.compose(line[:length]), line[:length])
    assert counts(cache) == (1, 2, 1)


def test_values_at_tokens_are_there_again_and_count_as_bytes(base: BaseModel) -> None:
    line = [replace(delta, reach="token") for delta in line_of(base, "rex", "momo")]
    cache = VersionCache(base, ROOM)
    first = cache.compose(line[:1])
    one = cache.figures()["bytes"]
    cache.compose(line)
    again = cache.compose(line)
    assert (first.at_tokens.keys(), again.at_tokens.keys()) == ({"<rex>"}, {"<rex>", "<momo>"})
    assert counts(cache) == (1, 1, 1)
    values = [sum(delta.positions[k].nbytes + delta.values[k].nbytes for k in delta.positions) for delta in line]
    taught = 4 * next(iter(base.kv_weights.values())).shape[1] ** 2
    assert one == values[0] + taught
    assert cache.figures()["bytes"] == one + sum(values) + taught


def test_the_longest_beginning_that_is_kept_is_the_one_that_is_used(base: BaseModel) -> None:
    cache, line = VersionCache(base, ROOM), line_of(base, "a", "bb", "ccc")
    cache.compose(line[:1])
    kept = cache.compose(line)
    untouched, *touched = base.kv_weights
    last = make_delta(base, "dddd", 4, parent=line[-1].digest)
    last = replace(last, positions={layer: last.positions[layer] for layer in touched})
    version = cache.compose([*line, last])
    assert version.weights[untouched] is kept.weights[untouched]
    assert is_right(base, version, [*line, last])


def test_going_back_finds_the_earlier_version_and_a_branch_goes_on_from_there(base: BaseModel) -> None:
    cache, line, branch = VersionCache(base, ROOM), line_of(base, "a", "bb", "ccc"), line_of(base, "a", "dddd", "ccc")
    for length in (1, 2, 3):
        cache.compose(line[:length])
    assert is_right(base, cache.compose(line[:1]), line[:1])
    for length in (2, 3):  # the last concept of both lines is the same, on another parent
        assert is_right(base, cache.compose(branch[:length]), branch[:length])
    assert is_right(base, cache.compose(line), line)
    assert counts(cache) == (2, 4, 1)


def test_the_same_deltas_in_another_order_are_another_version(base: BaseModel) -> None:
    cache = VersionCache(base, ROOM)
    first, second = make_delta(base, "a", 1, share=0.6), make_delta(base, "b", 2, share=0.6)
    for deltas in ([first, second], [second, first], [second]):
        assert is_right(base, cache.compose(deltas), deltas)
    assert counts(cache) == (0, 0, 3)  # a later version is of no use to an earlier one


def test_what_was_not_used_for_longest_makes_room_and_stays_whole_for_whoever_holds_it(base: BaseModel) -> None:
    cache, line = VersionCache(base, 2 * bytes_of_one(base)), line_of(base, "a", "bb", "ccc", "dddd")
    held = [cache.compose(line[:length]) for length in (1, 2, 3, 4)]
    assert cache.figures()["entries"] == 2
    assert cache.figures()["bytes"] == 2 * bytes_of_one(base)
    assert all(is_right(base, version, line[:length]) for length, version in enumerate(held, start=1))
    assert is_right(base, cache.compose(line[:2]), line[:2])
    assert counts(cache) == (0, 3, 2)  # it had gone, and so had what was below it


def test_a_beginning_that_is_built_upon_counts_as_used(base: BaseModel) -> None:
    cache = VersionCache(base, 2 * bytes_of_one(base))
    trunk, other = line_of(base, "a"), line_of(base, "bb")
    cache.compose(trunk)
    cache.compose(other)
    cache.compose([*trunk, make_delta(base, "ccc", 3, parent=trunk[0].digest)])
    cache.compose(trunk)
    assert counts(cache) == (1, 1, 2)


def test_a_line_that_cannot_be_composed_leaves_nothing(base: BaseModel) -> None:
    cache, line = VersionCache(base, ROOM), line_of(base, "a")
    with pytest.raises(DeltaError, match="twice"):
        cache.compose([*line, *line])
    assert cache.figures()["entries"] == 0


def test_what_was_made_of_an_erased_concept_goes_with_it_and_what_is_below_stays(
    base: BaseModel, store: BlobStore
) -> None:
    versions, line = Versions(base, store, version_bytes=ROOM), line_of(base, "a", "bb", "ccc")
    for length in (1, 2, 3):
        versions.composed.compose(line[:length])
    versions.drop({line[1].digest})
    assert versions.composed.figures()["entries"] == 1
    versions.composed.compose(line[:1])
    assert versions.composed.hits == 1


def test_the_engine_composes_on_what_is_there_and_says_so(worker: Worker, world: World) -> None:
    history = world.history()
    learn(worker, world.learning(history, "rex", "dog"))
    learn(worker, world.learning(history, "momo", "cat"))
    job = world.generation(history, "a photo of a <momo> cat", version=2, seed=3)
    generate(worker, job)
    assert holds(worker)["versions"] | {"bytes": 0} == {"hits": 0, "extended": 1, "misses": 2, "entries": 3, "bytes": 0}
    base = worker.equipment.base
    deltas = worker.versions.deltas([world.version(history, number).delta_sha256 for number in (1, 2)])
    asked = GenerationRequest("a photo of a <momo> cat", "", 3, 4, 4.0, "ddim", 16, 16)
    (picture,) = to_pictures(generate_alone(base, compose(base, deltas), [asked]))
    assert world.pngs(job) == [to_png(picture, recipe_of(base, deltas, asked, 2))]
