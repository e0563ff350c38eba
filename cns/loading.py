"""Reading a base model's parts from a diffusers folder, the hub, or a single-file checkpoint. safetensors only."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from cns.components import Components, quiet
from cns.errors import BaseModelError, PickleRefused
from cns.single_file import load_single_file
from cns.vocabulary import UnusableTokenizer, check_vocabulary, read_tokenizer

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
TEXT_ENCODERS = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}
CONFIG_FILES = [
    "model_index.json",
    *("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"),
    *(f"text_encoder{place}/config.json" for place in ("", "_2")),
    *(f"tokenizer{place}/{name}" for place in ("", "_2") for name in ("*.json", "merges.txt")),
]
WEIGHT_FOLDERS = ("unet", "vae", "text_encoder", "text_encoder_2")


def load_components(source: str | Path, dtype: torch.dtype, config: str | Path | None = None) -> Components:
    """Read the parts of `source` with their weights in `dtype`; see `cns.base_model.load_base`."""
    path = Path(source)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise PickleRefused(
            f"{path.name} is a pickle, which could run any code when it is opened. "
            "Convert it to .safetensors first, or use a copy that is published as .safetensors."
        )
    try:
        with quiet():
            loaded = _load(source, dtype, config)
        _check_vocabularies(loaded, path.name)
    except UnusableTokenizer as error:
        raise BaseModelError(str(error)) from error
    _check_words_are_all(loaded, path.name)
    _check_schedule(loaded.scheduler_config, path.name)
    return loaded


def _load(source: str | Path, dtype: torch.dtype, config: str | Path | None) -> Components:
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, dtype)
    if path.suffix.lower() == ".safetensors":
        return load_single_file(path, dtype, None if config is None else _config_folder(config))
    if isinstance(source, str) and HUB_ID.fullmatch(source):
        return _from_folder(_download(source, weights=True), dtype)
    raise BaseModelError(f"There is no base model at {source}: a folder, a .safetensors file or a hub id is needed.")


def _check_vocabularies(loaded: Components, name: str) -> None:
    for place, (tokenizer, encoder) in enumerate(zip(loaded.tokenizers, loaded.text_encoders, strict=True)):
        rows = encoder.get_input_embeddings().num_embeddings
        check_vocabulary(tokenizer, rows, f"tokenizer{'_2' if place else ''} of {name}")


def _check_words_are_all(loaded: Components, name: str) -> None:
    """Raise BaseModelError for a UNet that makes its picture of more than noise, words and what SDXL adds to them."""
    unet, latents = loaded.unet.config, loaded.vae.config.latent_channels
    if not unet.in_channels == unet.out_channels == latents:
        raise BaseModelError(
            f"The UNet of {name} takes {unet.in_channels} channels and gives {unet.out_channels}, where the latents "
            f"have {latents}: models that want more than words (for inpainting, editing or depth) are not supported."
        )
    if unet.class_embed_type is not None or unet.num_class_embeds is not None:
        raise BaseModelError(
            f"The UNet of {name} wants more than words: a class, or another picture's features, as one of unCLIP does. "
            "That is not supported."
        )


def _check_schedule(schedule: Mapping[str, Any], name: str) -> None:
    """Raise BaseModelError for a base whose noise is not given by betas: samplers would take some of their own."""
    kind = str(schedule.get("_class_name", "scheduler"))
    flows = schedule.get("use_flow_sigmas") or schedule.get("prediction_type") == "flow_prediction"
    betas = [schedule.get(part) for part in ("beta_schedule", "beta_start", "trained_betas")]
    if kind.startswith(("EDM", "FlowMatch")) or flows or all(part is None for part in betas):
        raise BaseModelError(
            f"The {kind} of {name} says nothing of betas: models that were trained with other kinds of noise (EDM, "
            "flow matching) are not supported."
        )


def _config_folder(config: str | Path) -> Path:
    if Path(config).is_dir():
        return Path(config)
    if isinstance(config, str) and HUB_ID.fullmatch(config):
        return _download(config, weights=False)
    raise BaseModelError(f"There is no folder {config} that could describe the checkpoint's architecture.")


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
            read_tokenizer(CLIPTokenizer, folder / f"tokenizer{suffix}", f"tokenizer{suffix} of {folder.name}")
            for suffix in suffixes
        ),
        scheduler_config=_read_json(folder / "scheduler" / "scheduler_config.json"),
        zeros_for_no_words=len(suffixes) == 2 and bool(index.get("force_zeros_for_empty_prompt", True)),
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
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, SafetensorError) as error:
        raise BaseModelError(f"The {subfolder} of {folder.name} cannot be loaded: {error}") from error
    if found["missing_keys"]:
        raise BaseModelError(f"The {subfolder} of {folder.name} lacks weights, such as {min(found['missing_keys'])}.")
    return model


def _variant(folder: Path, stem: str) -> str | None:
    """None when full weights are there, "fp16" when only half-precision ones are; raises when neither is."""
    for variant, middle in ((None, ""), ("fp16", ".fp16")):
        whole, sharded = folder / f"{stem}{middle}.safetensors", folder / f"{stem}.safetensors.index{middle}.json"
        if whole.is_file() or sharded.is_file():
            return variant
    if any(file.suffix in PICKLE_SUFFIXES for file in folder.glob("*")):
        raise PickleRefused(
            f"The weights in {folder.name} are pickles, which could run any code when they are opened. "
            "Use a copy of the model that is saved as .safetensors."
        )
    raise BaseModelError(f"There are no .safetensors weights in the folder {folder.name} of the base model.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BaseModelError(f"The base model lacks {path.name} in its folder {path.parent.name}.") from error
    except (ValueError, RecursionError) as error:
        raise BaseModelError(f"{path.name} in the base model's folder {path.parent.name} is damaged.") from error
    if not isinstance(read, dict):
        raise BaseModelError(f"{path.name} in the base model's folder {path.parent.name} is damaged.")
    return read


# --- the hub --------------------------------------------------------------------------------------------------------


def _download(hub_id: str, *, weights: bool) -> Path:
    """The local folder of a hub model with only the files needed; from the cache alone where there is no network."""
    parts = WEIGHT_FOLDERS if weights else ()
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=CONFIG_FILES + _weight_files(parts, "")))
        lacking = [
            part for part in parts if (folder / part).is_dir() and not any((folder / part).glob("*.safetensors"))
        ]
        if lacking:  # some models are published in half precision only
            snapshot_download(hub_id, allow_patterns=_weight_files(lacking, ".fp16"))
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"There is no folder {hub_id} here, and the hub could not give that model: {error}"
        ) from error
    return folder


def _weight_files(parts: Iterable[str], middle: str) -> list[str]:
    """Patterns of the weights of `parts`, whole or in shards; middle: "" for full precision, ".fp16" for half."""
    stems = [f"{part}/{name}" for part in parts for name in ("model", "diffusion_pytorch_model")]
    ends = (f"{middle}.safetensors", f"{middle}-*-of-*.safetensors", f".safetensors.index{middle}.json")
    return [stem + end for stem in stems for end in ends]
