"""Exports against what they are for: stock diffusers must draw with them what we draw."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils.peft_utils import get_peft_kwargs
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from cns.base_model import BaseModel, load_base
from cns.cli import app
from cns.components import quiet
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, generate
from cns.errors import UnknownToken
from cns.export import (
    CUSTOM_DIFFUSION_FILE,
    END_OF_TEXT_LINE,
    LORA_FILE,
    ExportError,
    end_of_text_line,
    export_custom_diffusion,
    export_diffusers,
    export_lora,
    low_rank,
)
from cns.history_folder import HistoryFolder
from cns.samplers import build_sampler

PROMPT = "a photo of a <rex> dog next to the <tom> cat at night"
REQUEST = GenerationRequest(PROMPT, seed=3, steps=3, guidance=4.0)


def scattered_delta(base: BaseModel, concept: str, noun: str, seed: int, parent: Delta | None = None) -> Delta:
    """A delta of random values at a tenth of every layer's entries, with a token of its own."""
    rng = torch.Generator().manual_seed(seed)
    positions, values = {}, {}
    for layer, weight in base.kv_weights.items():
        where = (torch.rand(weight.numel(), generator=rng) < 0.1).nonzero().flatten()
        positions[layer] = where
        values[layer] = (0.5 * torch.randn(len(where), generator=rng)).half()
    vectors = tuple(
        vector.cpu() + 0.3 * torch.randn(vector.shape, generator=rng) for vector in base.token_vectors(noun)
    )
    shapes = {layer: (weight.shape[0], weight.shape[1]) for layer, weight in base.kv_weights.items()}
    return Delta(concept, noun, base.id, parent.digest if parent else None, positions, values, shapes, vectors)


@pytest.fixture(params=["sd1", "sd2", "sdxl"])
def base(request: pytest.FixtureRequest) -> BaseModel:
    model: BaseModel = request.getfixturevalue(request.param)
    return model


@pytest.fixture
def version(base: BaseModel) -> Version:
    rex = scattered_delta(base, "rex", "dog", 1)
    return compose(base, [rex, scattered_delta(base, "tom", "cat", 2, rex)])


def stock_pipeline(folder: Path, base: BaseModel) -> Any:
    kind = StableDiffusionXLPipeline if base.kind == "sdxl" else StableDiffusionPipeline
    options = {} if base.kind == "sdxl" else {"safety_checker": None}
    with quiet():
        pipeline = kind.from_pretrained(folder, low_cpu_mem_usage=False, local_files_only=True, **options)
    pipeline.scheduler = build_sampler("ddim", base.scheduler_config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn_by(pipeline: Any) -> Tensor:
    """What stock diffusers makes of REQUEST: (1, 3, h, w) in 0..1."""
    made = pipeline(
        REQUEST.prompt,
        num_inference_steps=REQUEST.steps,
        guidance_scale=REQUEST.guidance,
        generator=torch.Generator().manual_seed(REQUEST.seed),
        height=16,
        width=16,
        output_type="pt",
    )
    pixels: Tensor = made.images
    return pixels


def load_tokens(pipeline: Any, out: Path, base: BaseModel, version: Version) -> None:
    """Load an export's textual inversions as diffusers' own pages say."""
    for name in version.tokens:
        vectors = load_file(out / "tokens" / f"{name.strip('<>')}.safetensors")
        if base.kind == "sd":
            pipeline.load_textual_inversion(vectors)
        else:
            pipeline.load_textual_inversion(vectors["clip_l"], token=name)
            second = {"text_encoder": pipeline.text_encoder_2, "tokenizer": pipeline.tokenizer_2}
            pipeline.load_textual_inversion(vectors["clip_g"], token=name, **second)


def test_an_exported_folder_draws_the_same_in_stock_diffusers(
    base: BaseModel, version: Version, tmp_path: Path
) -> None:
    export_diffusers(base, version, tmp_path / "out")
    ours = generate(base, version, [REQUEST])[0]
    assert (drawn_by(stock_pipeline(tmp_path / "out", base)) - ours).abs().max() < 1e-4


def test_exporting_leaves_the_base_as_it_was(base: BaseModel, version: Version, tmp_path: Path) -> None:
    before, words = base.checksum(), len(base.tokenizers[0])
    export_diffusers(base, version, tmp_path / "d")
    export_custom_diffusion(base, version, tmp_path / "c")
    export_lora(base, version, tmp_path / "l")
    export_diffusers(base, compose(base), tmp_path / "bare")
    assert (base.checksum(), len(base.tokenizers[0])) == (before, words)
    modules = (base.unet, base.vae, *base.text_encoders)
    assert not any(parameter.requires_grad for module in modules for parameter in module.parameters())


def test_an_exported_folder_is_a_base_of_its_own(sd1: BaseModel, tmp_path: Path) -> None:
    version = compose(sd1, [scattered_delta(sd1, "rex", "dog", 1)])
    again = load_base(export_diffusers(sd1, version, tmp_path / "out"))
    assert again.id != sd1.id
    assert all(torch.equal(again.kv_weights[layer], weight) for layer, weight in version.weights.items())
    asked = GenerationRequest("a photo of a <rex> dog", seed=3, steps=3, guidance=4.0)
    assert (again.own_tokens, sd1.own_tokens) == ({"<rex>"}, frozenset())
    assert (generate(again, compose(again), [asked])[0] - generate(sd1, version, [asked])[0]).abs().max() < 1e-4
    with pytest.raises(UnknownToken, match=r"<tom>, which has not been learned here; known tokens: <rex>\."):
        again.text_features(["<rex> and <tom>"])


def test_concepts_are_learned_beside_those_that_a_base_was_exported_with(sd1: BaseModel, tmp_path: Path) -> None:
    version = compose(sd1, [scattered_delta(sd1, "rex", "dog", 1)])
    again = load_base(export_diffusers(sd1, version, tmp_path / "out"))
    above = compose(again, [scattered_delta(again, "tom", "cat", 2)])
    export_diffusers(again, above, tmp_path / "above")
    ours = generate(again, above, [REQUEST])[0]
    assert (drawn_by(stock_pipeline(tmp_path / "above", again)) - ours).abs().max() < 1e-4


def test_a_concept_that_has_the_name_of_one_of_the_bases_own_goes_before_it(sd1: BaseModel, tmp_path: Path) -> None:
    version = compose(sd1, [scattered_delta(sd1, "rex", "dog", 1)])
    again = load_base(export_diffusers(sd1, version, tmp_path / "out"))
    other = compose(again, [scattered_delta(again, "rex", "mug", 5)])
    features = again.text_features(["a <rex> mug"], other.tokens)
    assert features.placed == ((0, 2, "<rex>"),)
    assert not torch.allclose(features.hidden, again.text_features(["a <rex> mug"]).hidden)
    twice = load_base(export_diffusers(again, other, tmp_path / "twice"))
    assert torch.allclose(twice.text_features(["a <rex> mug"]).hidden, features.hidden, atol=1e-5)


@pytest.mark.parametrize("name", ["Rex", "REX"])
def test_concepts_that_differ_in_case_alone_stay_two_in_an_exported_folder(
    sd1: BaseModel, tmp_path: Path, name: str
) -> None:
    rex = scattered_delta(sd1, "rex", "dog", 1)
    version = compose(sd1, [rex, scattered_delta(sd1, name, "cat", 2, rex)])
    export_diffusers(sd1, version, tmp_path / "out")
    pipeline = stock_pipeline(tmp_path / "out", sd1)
    for token in ("<rex>", f"<{name}>"):
        stock, _ = pipeline.encode_prompt(f"a photo of a {token} dog", "cpu", 1, False)
        assert torch.allclose(stock, sd1.text_features([f"a photo of a {token} dog"], version.tokens).hidden, atol=1e-5)


def test_the_bare_base_is_exported_as_it_is(sd1: BaseModel, tmp_path: Path) -> None:
    assert load_base(export_diffusers(sd1, compose(sd1), tmp_path / "out")).id == sd1.id


def test_custom_diffusion_files_draw_the_same_in_stock_diffusers(
    base: BaseModel, version: Version, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = export_custom_diffusion(base, version, tmp_path / "out")
    pipeline = stock_pipeline(request.getfixturevalue(f"{request.node.callspec.params['base']}_folder"), base)
    pipeline.unet.load_attn_procs(out, weight_name=CUSTOM_DIFFUSION_FILE, _pipeline=pipeline)
    load_tokens(pipeline, out, base, version)
    assert (drawn_by(pipeline) - generate(base, version, [REQUEST])[0]).abs().max() < 1e-4


@pytest.fixture
def sdxl_as_published(sdxl_folder: Path, tmp_path: Path) -> Path:
    """A tiny SDXL whose second encoder names another end-of-text than its tokenizer, as that of Stability AI does."""
    folder = shutil.copytree(sdxl_folder, tmp_path / "published")
    config = json.loads((folder / "text_encoder_2" / "config.json").read_text())
    (folder / "text_encoder_2" / "config.json").write_text(json.dumps({**config, "eos_token_id": 2}))
    return folder


def test_on_sdxl_as_published_files_draw_the_same_once_the_line_is_said(
    sdxl_as_published: Path, tmp_path: Path
) -> None:
    base = load_base(sdxl_as_published)
    rex = scattered_delta(base, "rex", "dog", 1)
    version = compose(base, [rex, scattered_delta(base, "tom", "cat", 2, rex)])
    out = export_custom_diffusion(base, version, tmp_path / "out")
    pipe = stock_pipeline(sdxl_as_published, base)
    pipe.unet.load_attn_procs(out, weight_name=CUSTOM_DIFFUSION_FILE, _pipeline=pipe)
    load_tokens(pipe, out, base, version)
    ours, line = generate(base, version, [REQUEST])[0], end_of_text_line(base)
    assert line is not None
    assert (drawn_by(pipe) - ours).abs().max() > 1e-3
    exec(line, {"pipe": pipe})  # noqa: S102 - the very line that people are told
    assert (drawn_by(pipe) - ours).abs().max() < 1e-4


def test_on_sdxl_as_published_a_folder_needs_no_line(sdxl_as_published: Path, tmp_path: Path) -> None:
    base = load_base(sdxl_as_published)
    rex = scattered_delta(base, "rex", "dog", 1)
    version = compose(base, [rex, scattered_delta(base, "tom", "cat", 2, rex)])
    export_diffusers(base, version, tmp_path / "out")
    ours = generate(base, version, [REQUEST])[0]
    assert (drawn_by(stock_pipeline(tmp_path / "out", base)) - ours).abs().max() < 1e-4
    assert end_of_text_line(load_base(tmp_path / "out")) is None


def test_bases_that_name_their_end_of_text_need_no_line(base: BaseModel) -> None:
    assert end_of_text_line(base) is None


@pytest.mark.parametrize(("form", "told"), [("lora", True), ("custom-diffusion", True), ("diffusers", False)])
def test_the_command_tells_the_line_where_it_is_needed(
    form: str, told: bool, sdxl_as_published: Path, tmp_path: Path
) -> None:
    base = load_base(sdxl_as_published)
    history = HistoryFolder.create(tmp_path / "history", str(sdxl_as_published), base.id)
    with history.writing():
        history.publish(scattered_delta(base, "rex", "dog", 1), ())
    asked = ["export", str(history.folder), "--format", form, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert (END_OF_TEXT_LINE in result.stdout.splitlines()) == told


def test_lora_of_full_rank_multiplies_back_to_the_weights(sd1: BaseModel, tmp_path: Path) -> None:
    version = compose(sd1, [scattered_delta(sd1, "rex", "dog", 1)])
    residuals = export_lora(sd1, version, tmp_path / "out", rank=32)
    factors = load_file(tmp_path / "out" / LORA_FILE)
    assert max(residuals.values()) < 1e-6
    for layer, weight in version.weights.items():
        product = factors[f"unet.{layer}.lora_B.weight"] @ factors[f"unet.{layer}.lora_A.weight"]
        assert (sd1.kv_weights[layer] + product - weight).abs().max() < 1e-5


def test_the_residual_of_a_lora_is_what_multiplying_back_misses(sd1: BaseModel, tmp_path: Path) -> None:
    version = compose(sd1, [scattered_delta(sd1, "rex", "dog", 1)])
    residuals = export_lora(sd1, version, tmp_path / "out", rank=4)
    factors = load_file(tmp_path / "out" / LORA_FILE)
    for layer, missed in residuals.items():
        difference = version.weights[layer] - sd1.kv_weights[layer]
        product = factors[f"unet.{layer}.lora_B.weight"] @ factors[f"unet.{layer}.lora_A.weight"]
        assert float((difference - product).norm() / difference.norm()) == pytest.approx(missed, abs=1e-5)
        assert 0.1 < missed < 1
    assert json.loads((tmp_path / "out" / "residuals.json").read_text())["residuals"] == residuals


def test_diffusers_reads_the_lora_with_a_scale_of_one(sd1: BaseModel, tmp_path: Path) -> None:
    export_lora(sd1, compose(sd1, [scattered_delta(sd1, "rex", "dog", 1)]), tmp_path / "out", rank=4)
    state, alphas = StableDiffusionPipeline.lora_state_dict(tmp_path / "out", weight_name=LORA_FILE)
    state = {name.removeprefix("unet."): tensor for name, tensor in state.items()}
    ranks = {name: tensor.shape[1] for name, tensor in state.items() if "lora_B" in name}
    adapter = get_peft_kwargs(ranks, network_alpha_dict=alphas, peft_state_dict=state)
    assert adapter["r"] == adapter["lora_alpha"] == 4
    modules = dict(sd1.unet.named_modules())
    assert set(adapter["target_modules"]) <= set(modules)


def test_low_rank_finds_the_rank_a_difference_has() -> None:
    rng = torch.Generator().manual_seed(0)
    difference = torch.randn(12, 2, generator=rng) @ torch.randn(2, 9, generator=rng)
    down, up, missed = low_rank(difference, 8)
    assert down.shape == (2, 9)
    assert up.shape == (12, 2)
    assert missed < 1e-6
    torch.testing.assert_close(up @ down, difference)


def test_the_bare_base_has_no_lora(sd1: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="bare base"):
        export_lora(sd1, compose(sd1), tmp_path / "out")


def test_an_export_does_not_overwrite(sd1: BaseModel, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        export_custom_diffusion(sd1, compose(sd1), tmp_path)


def test_an_export_that_fails_leaves_nothing_behind(sd1: BaseModel, tmp_path: Path) -> None:
    broken: Any = SimpleNamespace(weights={}, at_tokens={}, tokens={"<rex>": (torch.zeros(5),)})
    with pytest.raises(RuntimeError):
        export_diffusers(sd1, broken, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
