"""K and V of prompts are computed once for a version, kept within bounds, and gone with what was erased."""

import pytest
import torch
from torch import Tensor

from app.storage import BlobStore
from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, GenerationRun, denoise_step
from cns.errors import UnknownToken
from cns.kv import handed_attention
from cns.prompts import Encode, encode_prompt
from cns.regions import Region
from tests.worker.library import learn_alone
from tests.worker.test_generating import together
from tests.worker.world import World
from worker.equipment import Equipment
from worker.generating import generate
from worker.process import Worker
from worker.prompts import PromptCache
from worker.reports import holds
from worker.versions import Versions

ROOM = 100_000_000
REGIONAL = GenerationRequest(
    "a house", "dark", seed=2, steps=2, regions=(Region("a dog", 0, 0, 0.5, 1), Region("a cat", 0.5, 0, 1, 1))
)


@pytest.fixture
def base(equipment: Equipment) -> BaseModel:
    return equipment.base


@pytest.fixture(scope="module")
def rex(equipment: Equipment) -> Delta:
    return learn_alone(equipment, "rex", "dog", steps=2)


def latents_of(base: BaseModel, version: Version, asked: GenerationRequest, encode: Encode | None) -> Tensor:
    run = GenerationRun(base, version, asked, encode)
    with handed_attention(base.unet):
        while not run.done:
            denoise_step(base, [run])
    return run.latents


def test_a_prompt_and_the_empty_one_are_computed_once_for_two_requests(base: BaseModel) -> None:
    cache, version = PromptCache(base, ROOM), compose(base)
    first, second = (GenerationRun(base, version, GenerationRequest("a dog", seed=s), cache.encode) for s in (1, 2))
    assert [one is other for one, other in zip(first.prompts, second.prompts, strict=True)] == [True, True]
    assert (cache.hits, cache.misses) == (2, 2)


def test_another_version_has_another_k_and_v_of_the_same_words(base: BaseModel, rex: Delta) -> None:
    cache = PromptCache(base, ROOM)
    bare, changed = cache.encode(compose(base), "a dog"), cache.encode(compose(base, [rex]), "a dog")
    assert cache.misses == 2
    assert any(not torch.equal(bare.kv[layer][0], changed.kv[layer][0]) for layer in bare.kv)


@pytest.mark.parametrize("asked", [GenerationRequest("a <rex> dog", "a cat", seed=1, steps=2), REGIONAL])
def test_a_picture_is_the_same_to_the_bit_with_and_without_what_was_kept(
    base: BaseModel, rex: Delta, asked: GenerationRequest
) -> None:
    cache, version = PromptCache(base, ROOM), compose(base, [rex])
    without = latents_of(base, version, asked, None)
    filled, kept = (latents_of(base, version, asked, cache.encode) for _ in range(2))
    assert cache.hits == cache.misses == 2 + len(asked.regions)
    assert torch.equal(filled, without)
    assert torch.equal(kept, without)


def test_pooled_text_is_kept_with_k_and_v(sdxl: BaseModel) -> None:
    cache, version = PromptCache(sdxl, ROOM), compose(sdxl)
    cache.encode(version, "a dog")
    assert cache.figures()["bytes"] == encode_prompt(sdxl, version, "a dog").nbytes
    asked = GenerationRequest("a dog", seed=4, steps=2)
    assert torch.equal(latents_of(sdxl, version, asked, cache.encode), latents_of(sdxl, version, asked, None))


def test_what_was_not_used_for_longest_makes_room(base: BaseModel) -> None:
    version = compose(base)
    cache = PromptCache(base, 2 * encode_prompt(base, version, "a dog").nbytes)
    for prompt in ("a dog", "a cat", "a dog", "a mug", "a dog"):
        cache.encode(version, prompt)
    assert cache.figures() == {"hits": 2, "misses": 3, "entries": 2, "bytes": 2 * cache.encode(version, "a dog").nbytes}
    cache.encode(version, "a cat")
    assert cache.misses == 4  # it had gone for the mug


def test_a_prompt_that_cannot_be_read_leaves_nothing(base: BaseModel) -> None:
    cache = PromptCache(base, ROOM)
    with pytest.raises(UnknownToken):
        cache.encode(compose(base), "a <nobody>")
    assert cache.figures()["entries"] == 0


def test_what_was_made_of_an_erased_concept_goes_with_it_and_nothing_else_does(
    base: BaseModel, rex: Delta, store: BlobStore
) -> None:
    versions = Versions(base, store, prompt_bytes=ROOM)
    for version in (compose(base), compose(base, [rex])):
        versions.prompts.encode(version, "a dog")
    versions.drop({rex.digest})
    assert versions.prompts.figures()["entries"] == 1
    versions.prompts.encode(compose(base), "a dog")
    versions.prompts.encode(compose(base, [rex]), "a dog")
    assert (versions.prompts.hits, versions.prompts.misses) == (1, 3)


def test_the_engine_takes_prompts_from_what_is_kept_and_says_so(worker: Worker, world: World) -> None:
    history = world.history()
    together(worker, *[world.generation(history, "a dog", seed=seed) for seed in range(3)])
    generate(worker, world.generation(history, "a dog", seed=9))
    (batch,) = holds(worker)["batches"]
    assert (batch["size"], list(batch["row_seconds"])) == ("16x16", ["2", "8"])
    assert holds(worker)["prompts"] | {"bytes": 0} == {"hits": 6, "misses": 2, "entries": 2, "bytes": 0}
