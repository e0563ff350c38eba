"""Reading a base model's parts from a diffusers folder, the hub, or a single-file checkpoint. safetensors only."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from cns.errors import BaseModelError, PickleRefused

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
TEXT_ENCODERS = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}
CONFIG_FILES = [
    "model_index.json",
    *("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"),
    *(f"text_encoder{place}/config.json" for place in ("", "_2")),
    *(f"tokenizer{place}/{name}" for place in ("", "_2") for name in ("*.json", "merges.txt")),
]
WEIGHT_FOLDERS = ("unet", "vae", "text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Components:
    """The parts of a base model that are used: no safety checker, no feature extractor, no scheduler object."""

    unet: Any
    vae: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler_config: dict[str, Any]


def load_components(source: str | Path, dtype: torch.dtype, config: str | Path | None = None) -> Components:
    """Read the parts of `source` with their weights in `dtype`; see `cns.base_model.load_base`."""
    path = Path(source)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise PickleRefused(
            f"{path.name} is a pickle, which could run any code when it is opened. "
            "Convert it to .safetensors first, or use a copy that is published as .safetensors."
        )
    with _quiet():
        if path.is_dir():
            return _from_folder(path, dtype)
        if path.suffix.lower() == ".safetensors":
            return _from_single_file(path, dtype, config)
        if isinstance(source, str) and HUB_ID.fullmatch(source):
            return _from_folder(_download(source, weights=True), dtype)
    raise BaseModelError(f"There is no base model at {source}: a folder, a .safetensors file or a hub id is needed.")


# --- a diffusers folder -------------------------------------------------------------------------------------------


def _from_folder(folder: Path, dtype: torch.dtype) -> Components:
    index = _read_json(folder / "model_index.json")
    suffixes = [suffix for suffix in ("", "_2") if (index.get(f"text_encoder{suffix}") or [None])[0]]
    if "unet" not in index or suffixes not in ([""], ["", "_2"]):
        raise BaseModelError(
            f"{folder.name} holds a {index.get('_class_name', 'model')}, which is not supported: "
            "a base must be Stable Diffusion 1.x, 2.x or SDXL, with a UNet and one or two CLIP text encoders."
        )
    encoders = []
    for suffix in suffixes:
        name = index[f"text_encoder{suffix}"][1]
        if name not in TEXT_ENCODERS:
            raise BaseModelError(
                f"The text encoder of {folder.name} is a {name}; only CLIP text encoders are supported."
            )
        encoders.append(_part(TEXT_ENCODERS[name], folder, f"text_encoder{suffix}", "model", dtype))
    return Components(
        unet=_part(UNet2DConditionModel, folder, "unet", "diffusion_pytorch_model", dtype, low_cpu_mem_usage=False),
        vae=_part(AutoencoderKL, folder, "vae", "diffusion_pytorch_model", dtype, low_cpu_mem_usage=False),
        text_encoders=tuple(encoders),
        tokenizers=tuple(
            CLIPTokenizer.from_pretrained(folder, subfolder=f"tokenizer{suffix}", local_files_only=True)
            for suffix in suffixes
        ),
        scheduler_config=_read_json(folder / "scheduler" / "scheduler_config.json"),
    )


def _part(kind: Any, folder: Path, subfolder: str, stem: str, dtype: torch.dtype, **options: Any) -> Any:
    """One model of a folder, refused when any of its weights is missing rather than left at random."""
    variant = _variant(folder / subfolder, stem)
    try:
        model, found = kind.from_pretrained(
            folder,
            subfolder=subfolder,
            variant=variant,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BaseModelError(f"The {subfolder} of {folder.name} cannot be loaded: {error}") from error
    if found["missing_keys"]:
        raise BaseModelError(f"The {subfolder} of {folder.name} lacks weights, such as {min(found['missing_keys'])}.")
    return model


def _variant(folder: Path, stem: str) -> str | None:
    """None when full weights are there, "fp16" when only half-precision ones are; raises when neither is."""
    for variant, middle in ((None, ""), ("fp16", ".fp16")):
        if any((folder / f"{stem}{middle}.{end}").is_file() for end in ("safetensors", "safetensors.index.json")):
            return variant
        # transformers and diffusers place the variant of a sharded model's index differently
        if variant and (folder / f"{stem}.safetensors.index{middle}.json").is_file():
            return variant
    if any(file.suffix in PICKLE_SUFFIXES for file in folder.glob("*")):
        raise PickleRefused(
            f"The weights in {folder.name} are pickles, which could run any code when they are opened. "
            "Use a copy of the model that is saved as .safetensors."
        )
    raise BaseModelError(f"There are no .safetensors weights in the folder {folder.name} of the base model.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BaseModelError(f"The base model lacks {path.name} in its folder {path.parent.name}.") from error
    except json.JSONDecodeError as error:
        raise BaseModelError(f"{path.name} in the base model's folder {path.parent.name} is damaged.") from error
    return read


# --- a single-file checkpoint ---------------------------------------------------------------------------------------


def _from_single_file(path: Path, dtype: torch.dtype, config: str | Path | None) -> Components:
    if not path.is_file():
        raise BaseModelError(f"There is no checkpoint {path}.")
    names, unet_values = _look_into(path)
    if not unet_values:
        raise BaseModelError(f"{path.name} is not a Stable Diffusion checkpoint in the original layout.")
    is_sdxl = any(name.startswith("conditioner.embedders.1.") for name in names)
    if config is not None and not Path(config).is_dir():
        if not (isinstance(config, str) and HUB_ID.fullmatch(config)):
            raise BaseModelError(f"There is no folder {config} that could describe the architecture of {path.name}.")
        config = _download(config, weights=False)
    pipeline_kind = StableDiffusionXLPipeline if is_sdxl else StableDiffusionPipeline
    unused: dict[str, Any] = {"feature_extractor": None, "image_encoder": None}
    if not is_sdxl:
        unused |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        pipeline = pipeline_kind.from_single_file(
            str(path),
            config=None if config is None else str(config),
            torch_dtype=dtype,
            local_files_only=config is not None,
            **unused,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise BaseModelError(f"The checkpoint {path.name} cannot be loaded: {error}") from error
    unet = pipeline.unet
    if unet_values < sum(parameter.numel() for parameter in unet.parameters()):
        raise BaseModelError(
            f"The checkpoint {path.name} lacks weights of its UNet, or `config` describes another model."
        )
    pairs = [(pipeline.text_encoder, pipeline.tokenizer)]
    if is_sdxl:
        pairs.append((pipeline.text_encoder_2, pipeline.tokenizer_2))
    encoders, tokenizers = zip(*pairs)
    return Components(unet, pipeline.vae, encoders, tokenizers, dict(pipeline.scheduler.config))


def _look_into(path: Path) -> tuple[list[str], int]:
    """The names in a checkpoint, and how many values its UNet has; reads the header only."""
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            shapes = [file.get_slice(name).get_shape() for name in names if name.startswith("model.diffusion_model.")]
    except (SafetensorError, OSError) as error:
        raise BaseModelError(f"{path.name} is not a .safetensors file, or it is damaged: {error}") from error
    return names, sum(torch.Size(shape).numel() for shape in shapes)


# --- the hub --------------------------------------------------------------------------------------------------------


def _download(hub_id: str, *, weights: bool) -> Path:
    """The local folder of a hub model with only the files needed; from the cache alone where there is no network."""
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=CONFIG_FILES))
        if weights:
            for part in WEIGHT_FOLDERS:
                _download_weights(hub_id, folder, part)
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"There is no folder {hub_id} here, and the hub could not give that model: {error}"
        ) from error
    return folder


def _download_weights(hub_id: str, folder: Path, part: str) -> None:
    """Full-precision weights of one part, or the half-precision ones where there are no others."""
    for middle in ("", ".fp16"):
        if not (folder / part / "config.json").is_file() or any((folder / part).glob("*.safetensors")):
            return
        stems = (f"{part}/model", f"{part}/diffusion_pytorch_model")
        ends = (f"{middle}.safetensors", f"{middle}-*-of-*.safetensors", f".safetensors.index{middle}.json")
        snapshot_download(hub_id, allow_patterns=[stem + end for stem in stems for end in ends])


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of other libraries while the block runs: whoever calls us shows progress in their own way."""
    switches = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
    for log in switches:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in switches:
            log.enable_progress_bar()
