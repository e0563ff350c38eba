"""A base model is loaded from every layout, gives the stock pipelines' text features, and is never edited."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from safetensors.torch import load_file, save_file

from cns import loading
from cns.base_model import BaseModel, load_base
from cns.errors import BaseModelError, PickleRefused, UnknownToken
from cns.layout import lay_out
from tests import tiny

FOLDERS = ["sd1_folder", "sd2_folder", "sdxl_folder"]
BASES = ["sd1", "sd2", "sdxl"]
PROMPTS = ["a photo of the red dog on grass", "zebra", "", "a cat, next to the mug! " * 9]


def _stock(folder: Path, kind: type) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    options = {} if kind is StableDiffusionXLPipeline else {"safety_checker": None, "requires_safety_checker": False}
    pipeline = kind.from_pretrained(folder, low_cpu_mem_usage=False, local_files_only=True, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_order_of_weights_in_memory_changes_neither_the_checksum_nor_the_answer(sd1_folder: Path) -> None:
    """As on a GPU; the tensors themselves may lie anywhere."""
    base = load_base(sd1_folder)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    checksum, picture = base.checksum(), base.decode_latents(latents)
    lay_out(base.vae, torch.device("cuda"))
    assert base.vae.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert base.checksum() == checksum
    torch.testing.assert_close(base.decode_latents(latents), picture, atol=1e-5, rtol=0)


# --- text features ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["sd1_folder", "sd2_folder"])
def test_text_features_equal_the_stock_pipelines(folder: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(folder)
    expected, _ = _stock(path, StableDiffusionPipeline).encode_prompt(PROMPTS, "cpu", 1, False)
    features = load_base(path).text_features(PROMPTS)
    assert torch.equal(features.hidden, expected)
    assert features.pooled is None


def test_text_features_equal_the_stock_sdxl_pipelines(sdxl_folder: Path, sdxl: BaseModel) -> None:
    stock = _stock(sdxl_folder, StableDiffusionXLPipeline)
    hidden, _, pooled, _ = stock.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    features = sdxl.text_features(PROMPTS)
    assert torch.equal(features.hidden, hidden)
    assert features.hidden.shape == (4, tiny.MAX_TOKENS, 32 + 48)
    assert features.pooled is not None
    assert torch.equal(features.pooled, pooled)


@pytest.mark.parametrize("name", BASES)
def test_a_token_with_a_words_embedding_gives_that_words_features(name: str, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(name)
    tokens = {"<rex>": base.token_vectors("cat"), "<my-mug_2>": base.token_vectors("blue")}
    brought = base.text_features(["a photo of <rex> dog next to <my-mug_2> mug", "<rex>,<rex>"], tokens)
    plain = base.text_features(["a photo of cat dog next to blue mug", "cat,cat"])
    assert torch.equal(brought.hidden, plain.hidden)
    assert torch.equal(brought.own, plain.own)
    if brought.pooled is not None:
        assert torch.equal(brought.pooled, plain.pooled)


def test_a_token_equals_a_word_really_added_to_a_copy_of_the_encoder(sd1_folder: Path, sd1: BaseModel) -> None:
    stock = _stock(sd1_folder, StableDiffusionPipeline)
    vector = torch.linspace(-0.1, 0.1, 32)
    stock.tokenizer.add_tokens("<rex>")
    stock.text_encoder.resize_token_embeddings(len(stock.tokenizer), mean_resizing=False)
    with torch.no_grad():
        stock.text_encoder.get_input_embeddings().weight[-1] = vector
    expected, _ = stock.encode_prompt("a photo of <rex> dog", "cpu", 1, False)
    assert torch.equal(sd1.text_features(["a photo of <rex> dog"], {"<rex>": (vector,)}).hidden, expected)


def test_two_callers_may_own_the_same_token(sd1: BaseModel) -> None:
    mine = sd1.text_features(["a <rex> dog"], {"<rex>": sd1.token_vectors("cat")})
    yours = sd1.text_features(["a <rex> dog"], {"<rex>": sd1.token_vectors("robot")})
    assert not torch.allclose(mine.hidden, yours.hidden)
    assert torch.equal(sd1.text_features(["a <rex> dog"], {"<rex>": sd1.token_vectors("cat")}).hidden, mine.hidden)


@pytest.mark.parametrize("name", BASES)
def test_encoders_and_tokenizers_are_never_edited(name: str, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(name)
    before = base.checksum(), [len(tokenizer) for tokenizer in base.tokenizers]
    tokens = {"<rex>": tuple(vector.requires_grad_() for vector in base.token_vectors("dog"))}
    base.text_features(["<rex> dog"], tokens).hidden.square().sum().backward()
    with pytest.raises(UnknownToken):
        base.text_features(["<rex> <other>"], tokens)
    assert (base.checksum(), [len(tokenizer) for tokenizer in base.tokenizers]) == before
    assert not any(encoder.get_input_embeddings()._forward_hooks for encoder in base.text_encoders)
    assert not any(parameter.requires_grad for part in (base.unet, base.vae) for parameter in part.parameters())
    assert all(parameter.grad is None for encoder in base.text_encoders for parameter in encoder.parameters())


@pytest.mark.parametrize("name", BASES)
def test_the_gradient_reaches_every_token_vector(name: str, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(name)
    vectors = tuple(vector.requires_grad_() for vector in base.token_vectors("dog"))
    base.text_features(["a photo of <rex> dog"], {"<rex>": vectors}).hidden.square().sum().backward()
    assert all(vector.grad is not None and vector.grad.abs().sum() > 0 for vector in vectors)


def test_the_gradient_reaches_the_token_through_the_pooled_features(sdxl: BaseModel) -> None:
    first, second = (vector.requires_grad_() for vector in sdxl.token_vectors("dog"))
    pooled = sdxl.text_features(["<rex> dog"], {"<rex>": (first, second)}).pooled
    assert pooled is not None
    pooled.square().sum().backward()
    assert first.grad is None
    assert second.grad is not None


def test_an_unknown_token_is_named_with_the_known_ones(sd1: BaseModel) -> None:
    with pytest.raises(UnknownToken, match=r"names <max>, .* known tokens: <momo>, <rex>\."):
        sd1.text_features(["<max>"], {name: sd1.token_vectors("dog") for name in ("<rex>", "<momo>")})
    with pytest.raises(UnknownToken, match="none yet"):
        sd1.text_features(["<max>"])


def test_vectors_of_another_base_are_refused(sd1: BaseModel, sdxl: BaseModel) -> None:
    with pytest.raises(BaseModelError, match="have the sizes 32, 48; this base model needs 32"):
        sd1.text_features(["<rex>"], {"<rex>": sdxl.token_vectors("dog")})


@pytest.mark.parametrize("name", BASES)
def test_the_own_mask_covers_words_and_tokens_alone(name: str, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(name)
    own = base.text_features(["a <rex> dog", "", "!<|endoftext|>!"], {"<rex>": base.token_vectors("cat")}).own
    assert own.nonzero().tolist() == [[0, 1], [0, 2], [0, 3], [2, 1], [2, 3]]
    assert own.shape == (3, tiny.MAX_TOKENS)


def test_a_long_prompt_is_cut_and_keeps_its_start_and_end(sd1: BaseModel) -> None:
    kept = tiny.MAX_TOKENS - 2
    tokens = {"<rex>": sd1.token_vectors("cat")}
    long = sd1.text_features(["dog " * kept + "robot <rex>"], tokens)
    assert torch.equal(long.hidden, sd1.text_features(["dog " * kept]).hidden)
    assert long.own[0].tolist() == [False] + [True] * kept + [False]


def test_a_nouns_vector_is_the_mean_of_its_pieces_and_a_copy(sd1: BaseModel) -> None:
    table = sd1.text_encoders[0].get_input_embeddings().weight
    pieces = sd1.tokenizers[0]("zebra", add_special_tokens=False).input_ids
    (vector,) = sd1.token_vectors("zebra")
    assert len(pieces) > 1
    assert torch.equal(vector, table[pieces].mean(dim=0))
    (word,) = sd1.token_vectors("dog")
    word += 1
    assert not torch.equal(word, sd1.token_vectors("dog")[0])
    with pytest.raises(BaseModelError, match="at least one letter"):
        sd1.token_vectors(" ")


def test_sdxls_added_conditions_equal_the_stock_pipelines(sdxl_folder: Path, sdxl: BaseModel, sd1: BaseModel) -> None:
    stock = _stock(sdxl_folder, StableDiffusionXLPipeline)
    expected = stock._get_add_time_ids((24, 16), (0, 0), (24, 16), torch.float32, text_encoder_projection_dim=48)
    pooled = sdxl.text_features(["a dog", "a cat"]).pooled
    added = sdxl.added_conditions(pooled, 24, 16)
    assert added is not None
    assert torch.equal(added["time_ids"], expected.expand(2, 6))
    assert added["text_embeds"] is pooled
    assert sd1.added_conditions(None, 24, 16) is None
    with pytest.raises(BaseModelError, match="pooled"):
        sdxl.added_conditions(None, 24, 16)


# --- weights and pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "layers"), [("sd1", 8), ("sd2", 8), ("sdxl", 16)])
def test_kv_weights_are_those_of_cross_attention_alone(name: str, layers: int, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(name)
    modules = dict(base.unet.named_modules())
    assert len(base.kv_weights) == layers
    for layer, weight in base.kv_weights.items():
        assert weight is modules[layer].weight
        assert weight.shape[1] == base.unet.config.cross_attention_dim


def test_pictures_become_the_same_scaled_latents_every_time_and_come_back(sd1: BaseModel) -> None:
    pixels = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(sd1.device)
    latents = sd1.encode_images(pixels)
    with torch.no_grad():
        mean = sd1.vae.encode(pixels).latent_dist.mean
        decoded = sd1.vae.decode(mean).sample
    torch.testing.assert_close(latents, mean * sd1.vae.config.scaling_factor)
    assert torch.equal(latents, sd1.encode_images(pixels))
    torch.testing.assert_close(sd1.decode_latents(latents), (decoded / 2 + 0.5).clamp(0, 1))
    low, high = sd1.decode_latents(latents * 100).aminmax()
    assert low == 0.0  # cut there: the decoder itself goes below
    assert high <= 1.0


@pytest.mark.parametrize(
    "statistics", [{"shift_factor": 0.3}, {"latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 3.0, 4.0]}]
)
def test_an_autoencoders_shift_and_channel_statistics_are_applied(
    statistics: dict[str, object], sd1_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    tiny.seeded(lambda: tiny.build_vae(**statistics), 0).save_pretrained(folder / "vae")
    base = load_base(folder)
    pixels = torch.zeros(1, 3, 16, 16)
    latents = base.encode_images(pixels)
    with torch.no_grad():
        mean = base.vae.encode(pixels).latent_dist.mean
        expected = (base.vae.decode(mean).sample / 2 + 0.5).clamp(0, 1)
    assert not torch.allclose(latents, mean * base.vae.config.scaling_factor)
    torch.testing.assert_close(base.decode_latents(latents), expected)


def test_sizes_and_prediction_come_from_the_configuration(sd1: BaseModel, sd2: BaseModel, sdxl: BaseModel) -> None:
    assert [base.kind for base in (sd1, sd2, sdxl)] == ["sd", "sd", "sdxl"]
    assert [base.prediction_type for base in (sd1, sd2, sdxl)] == ["epsilon", "v_prediction", "epsilon"]
    assert sd2.scheduler_config["rescale_betas_zero_snr"] is True
    assert (sd1.vae_scale, sd1.native_px) == (2, tiny.PICTURE_PX)
    assert not any(part.training for part in (sd1.unet, sd1.vae, *sd1.text_encoders))


# --- loading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_a_single_file_gives_the_same_model_as_the_folder(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(name)
    file = tiny.single_file(folder, tmp_path / "model.safetensors")
    bare = shutil.copytree(folder, tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    expected, found = load_base(folder), load_base(file, config=bare)
    assert found.checksum() == expected.checksum()
    assert found.id == expected.id
    assert found.zeros_for_no_words == expected.zeros_for_no_words == (found.kind == "sdxl")
    written = {key: value for key, value in expected.scheduler_config.items() if not key.startswith("_diffusers")}
    assert written.items() <= found.scheduler_config.items()
    assert torch.equal(found.text_features(PROMPTS).hidden, expected.text_features(PROMPTS).hidden)


@pytest.mark.parametrize(("said", "read"), [({}, True), ({"force_zeros_for_empty_prompt": False}, False)])
def test_what_sdxl_was_trained_with_where_there_are_no_words_is_read_from_its_index(
    said: dict[str, bool], read: bool, sdxl_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sdxl_folder, tmp_path / "base")
    file = tiny.single_file(folder, tmp_path / "model.safetensors")
    index = json.loads((folder / "model_index.json").read_text())
    del index["force_zeros_for_empty_prompt"]
    (folder / "model_index.json").write_text(json.dumps({**index, **said}))
    assert (load_base(folder).zeros_for_no_words, load_base(file, config=folder).zeros_for_no_words) == (read, read)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_id_is_the_same_in_whatever_dtype_it_is_loaded(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    single, half, brain = (load_base(folder, dtype=dtype) for dtype in (torch.float32, torch.float16, torch.bfloat16))
    assert single.id == half.id == brain.id
    assert len(single.id) == 64
    assert [next(base.unet.parameters()).dtype for base in (half, brain)] == [torch.float16, torch.bfloat16]
    assert single.checksum() != half.checksum()


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_weights_saved_in_half_precision_load_into_float32(
    variant: str | None, sd1_folder: Path, sd1: BaseModel, tmp_path: Path
) -> None:
    pipeline = _stock(sd1_folder, StableDiffusionPipeline)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        torch.nn.Module.to(part, torch.float16)
    pipeline.save_pretrained(tmp_path, variant=variant)
    base = load_base(tmp_path)
    assert {parameter.dtype for parameter in base.unet.parameters()} == {torch.float32}
    assert base.id == sd1.id
    assert (tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors").exists() == (variant == "fp16")


def test_another_model_has_another_id(sd1: BaseModel, tmp_path: Path) -> None:
    assert load_base(tiny.build_sd1(tmp_path / "other", seed=9)).id != sd1.id


def test_the_vae_does_not_change_the_id_but_the_checksum(sd1_folder: Path, sd1: BaseModel, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    tiny.seeded(tiny.build_vae, 9).save_pretrained(folder / "vae")
    base = load_base(folder)
    assert base.id == sd1.id
    assert base.checksum() != sd1.checksum()


def test_sdxls_autoencoder_stays_in_float32_when_the_rest_is_float16(sdxl_folder: Path, sdxl: BaseModel) -> None:
    half = load_base(sdxl_folder, dtype=torch.float16)
    assert half.vae.dtype is torch.float32
    latents = half.encode_images(torch.zeros(1, 3, 16, 16))
    assert latents.dtype is torch.float16
    assert half.decode_latents(latents).dtype is torch.float32


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.PT"])
def test_a_pickle_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(PickleRefused, match=f"^{name} is a pickle, which could run any code"):
        load_base(tmp_path / name)


def test_a_pickle_under_a_safe_name_is_refused(sd1_folder: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(BaseModelError, match=r"is not a .safetensors file"):
        load_base(tmp_path / "model.safetensors", config=sd1_folder)


def test_a_folder_with_pickled_weights_is_refused(sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(PickleRefused, match="weights in unet are pickles"):
        load_base(folder)


def test_a_missing_base_is_a_sentence(tmp_path: Path, sd1_folder: Path) -> None:
    for source in (tmp_path / "nothing", str(tmp_path / "nothing"), "no such model"):
        with pytest.raises(BaseModelError, match=r"There is no base model at .*(nothing|no such model): "):
            load_base(source)
    with pytest.raises(BaseModelError, match="There is no checkpoint"):
        load_base(tmp_path / "nothing.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseModelError, match=r"lacks model_index.json in its folder empty"):
        load_base(tmp_path / "empty")
    file = tiny.single_file(sd1_folder, tmp_path / "model.safetensors")
    with pytest.raises(BaseModelError, match=r"no folder .* that could describe"):
        load_base(file, config=tmp_path / "nothing")


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
def test_a_folder_that_lacks_a_weight_is_refused(part: str, sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    weights = load_file(folder / f"{part}.safetensors")
    weights.popitem()
    save_file(weights, folder / f"{part}.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=f"The {part.split('/')[0]} of base"):
        load_base(folder)


@pytest.mark.parametrize("part", ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."])
def test_a_single_file_that_lacks_a_weight_is_refused(part: str, sd1_folder: Path, tmp_path: Path) -> None:
    file = tiny.single_file(sd1_folder, tmp_path / "model.safetensors")
    weights = load_file(file)
    weights.pop(max(name for name in weights if name.startswith(part)))
    save_file(weights, file)
    with pytest.raises(BaseModelError, match="incomplete"):
        load_base(file, config=sd1_folder)


def test_a_checkpoint_of_another_model_is_refused(sd1_folder: Path, sdxl_folder: Path, tmp_path: Path) -> None:
    file = tiny.single_file(sd1_folder, tmp_path / "model.safetensors")
    with pytest.raises(BaseModelError, match="`config`"):
        load_base(file, config=sdxl_folder)
    save_file({"lora.weight": torch.zeros(2)}, tmp_path / "lora.safetensors")
    with pytest.raises(BaseModelError, match="not a Stable Diffusion checkpoint"):
        load_base(tmp_path / "lora.safetensors", config=sd1_folder)


def test_a_damaged_folder_is_refused(sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BaseModelError, match="The unet of base cannot be loaded"):
        load_base(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(BaseModelError, match=r"model_index.json .* is damaged"):
        load_base(folder)


def _spoil_tokenizer(folder: Path, spoilt: str | None) -> None:
    """Its words in two files, as older models have them, and the file `spoilt` gone."""
    whole = folder / "tokenizer.json"
    words = json.loads(whole.read_text())["model"]
    whole.unlink()
    (folder / "vocab.json").write_text(json.dumps(words["vocab"]))
    merges = "\n".join(pair if isinstance(pair, str) else " ".join(pair) for pair in words["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    if spoilt is not None:
        (folder / spoilt).unlink()


def test_a_tokenizer_in_pieces_reads_as_the_whole_one(sd1_folder: Path, sd1: BaseModel, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    _spoil_tokenizer(folder / "tokenizer", None)
    assert torch.equal(load_base(folder).text_features(PROMPTS).hidden, sd1.text_features(PROMPTS).hidden)


@pytest.mark.parametrize("spoilt", ["vocab.json", "merges.txt", "tokenizer_config.json"])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_base_whose_tokenizer_is_not_whole_is_refused(
    spoilt: str, as_file: bool, sdxl_folder: Path, tmp_path: Path
) -> None:
    """An empty one would be made in its place, to which all prompts are one."""
    folder = shutil.copytree(sdxl_folder, tmp_path / "base")
    _spoil_tokenizer(folder / "tokenizer_2", spoilt)
    source = tiny.single_file(sdxl_folder, tmp_path / "model.safetensors") if as_file else folder
    if spoilt == "tokenizer_config.json":
        assert load_base(source, config=folder).kind == "sdxl"  # what is said there can be said without it
        (folder / "tokenizer_2" / spoilt).write_text("{")
    with pytest.raises(BaseModelError, match="The tokenizer_2 of base"):
        load_base(source, config=folder)


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"model": 3}'])
def test_a_base_whose_tokenizer_is_damaged_is_refused(content: str, sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    (folder / "tokenizer" / "tokenizer.json").write_text(content)
    with pytest.raises(BaseModelError, match="The tokenizer of base cannot be loaded"):
        load_base(folder)


def test_a_tokenizer_of_another_encoder_is_refused(sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    tokenizer = tiny.build_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(10)])
    tokenizer.save_pretrained(folder / "tokenizer")
    with pytest.raises(BaseModelError, match="knows 566 words, but its text encoder 556: it is of another model"):
        load_base(folder)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "vocab.json").write_text('{"<|startoftext|>": 0, "<|endoftext|>": 1}')
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(BaseModelError, match="words only, too few to spell any other"):
        load_base(folder)


@pytest.mark.parametrize("part", ["unet/config", "vae/config", "text_encoder/config", "scheduler/scheduler_config"])
@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_a_description_that_is_none_is_refused(part: str, content: str, sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    (folder / f"{part}.json").write_text(content)
    with pytest.raises(BaseModelError, match=part.split("/")[0]):
        load_base(folder)


@pytest.mark.parametrize("part", ["model_index", "scheduler/scheduler_config"])
def test_a_list_is_no_description(part: str, sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    (folder / f"{part}.json").write_text("[]")
    with pytest.raises(BaseModelError, match=r"\.json in the base model's folder \w+ is damaged"):
        load_base(folder)


def test_a_model_of_another_family_is_refused(sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline", "transformer": ["diffusers", "Flux"]}')
    with pytest.raises(BaseModelError, match="FluxPipeline, which is not supported"):
        load_base(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"in_channels": 9}, "takes 9 channels and gives 4, where the latents have 4"),  # inpainting
        ({"in_channels": 8}, "takes 8 channels"),  # instruct-pix2pix
        ({"in_channels": 5}, "takes 5 channels"),  # depth
        ({"out_channels": 8}, "gives 8"),
        ({"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8}, "as one of unCLIP does"),
        ({"num_class_embeds": 10}, "wants more than words"),
    ],
)
def test_a_model_that_wants_more_than_words_is_refused(
    changes: dict[str, Any], said: str, sd1_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    tiny.build_unet(**changes).save_pretrained(folder / "unet")
    with pytest.raises(BaseModelError, match=f"The UNet of base .*{said}"):
        load_base(folder)


def test_a_checkpoint_that_wants_more_than_words_is_refused(sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    tiny.build_unet(in_channels=9).save_pretrained(folder / "unet")
    file = tiny.single_file(folder, tmp_path / "inpainting.safetensors")
    with pytest.raises(BaseModelError, match=r"The UNet of inpainting.safetensors takes 9 channels"):
        load_base(file, config=folder)


@pytest.mark.parametrize(
    "scheduler",
    [
        EDMEulerScheduler(),  # CosXL, Playground v2.5
        EDMDPMSolverMultistepScheduler(),
        FlowMatchEulerDiscreteScheduler(),
        DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_a_model_of_another_kind_of_noise_is_refused(
    scheduler: Any, as_file: bool, sdxl_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sdxl_folder, tmp_path / "base")
    scheduler.save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    source = tiny.single_file(folder, tmp_path / "base.safetensors") if as_file else folder
    with pytest.raises(BaseModelError, match=f"The {type(scheduler).__name__} of base.* kinds of noise"):
        load_base(source, config=folder)


def test_a_schedule_that_says_nothing_of_betas_is_refused(sd1_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd1_folder, tmp_path / "base")
    for said in ({}, {"num_train_timesteps": 1000}, {"beta_schedule": None}):
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(said))
        with pytest.raises(BaseModelError, match="The scheduler of base says nothing of betas"):
            load_base(folder)
    (folder / "scheduler" / "scheduler_config.json").write_text('{"trained_betas": [0.1, 0.2]}')
    assert load_base(folder).scheduler_config["trained_betas"] == [0.1, 0.2]


def test_a_hub_model_is_read_from_the_folder_the_hub_gives(
    sd1_folder: Path, sd1: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def give(hub_id: str, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(sd1_folder)

    monkeypatch.setattr(loading, "snapshot_download", give)
    assert load_base("someone/some-model").id == sd1.id
    assert "unet/diffusion_pytorch_model.safetensors" in asked
    assert not any(name.startswith("safety_checker") or name.endswith((".bin", ".ckpt", "*")) for name in asked)


def test_a_hub_that_cannot_be_reached_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(hub_id: str, allow_patterns: list[str]) -> str:
        raise OSError("no network")

    monkeypatch.setattr(loading, "snapshot_download", fail)
    with pytest.raises(BaseModelError, match="There is no folder someone/some-model here, and the hub"):
        load_base("someone/some-model")
