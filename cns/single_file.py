"""Reading a base model from one .safetensors checkpoint in the layout of the original releases."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors import SafetensorError, safe_open
from transformers import CLIPTokenizer

from cns.components import Components
from cns.errors import BaseModelError
from cns.vocabulary import read_tokenizer

UNET, VAE, TEXT, TEXT_XL = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner."


def load_single_file(path: Path, dtype: torch.dtype, config: Path | None) -> Components:
    """The parts of the checkpoint at `path`, weights in `dtype`.

    config: a diffusers folder with the architecture, the tokenizers and the scheduler; its weights are not read.
        Without it diffusers asks the hub for the one that fits.
    Raises BaseModelError, and UnusableTokenizer for tokenizers that `config` does not have whole.
    """
    if not path.is_file():
        raise BaseModelError(f"There is no checkpoint {path}.")
    values = _count_values(path)
    if not values[UNET]:
        raise BaseModelError(f"{path.name} is not a Stable Diffusion checkpoint in the original layout.")
    pipeline = _build_pipeline(path, dtype, config, is_sdxl=values[TEXT_XL] > 0)
    encoders, tokenizers = [pipeline.text_encoder], [pipeline.tokenizer]
    if values[TEXT_XL]:
        encoders.append(pipeline.text_encoder_2)
        tokenizers.append(pipeline.tokenizer_2)
    for prefix, models in (
        (UNET, [pipeline.unet]),
        (VAE, [pipeline.vae]),
        (TEXT_XL if values[TEXT_XL] else TEXT, encoders),
    ):
        # The loader leaves weights at random that it does not find, without a word.
        if values[prefix] < sum(parameter.numel() for model in models for parameter in model.parameters()):
            raise BaseModelError(
                f"{path.name} lacks weights under {prefix}: it is incomplete, or `config` is of another model."
            )
    schedule = _written_config(pipeline.scheduler)
    zeros = values[TEXT_XL] > 0 and bool(pipeline.config.force_zeros_for_empty_prompt)
    return Components(pipeline.unet, pipeline.vae, tuple(encoders), tuple(tokenizers), schedule, zeros)


def _build_pipeline(path: Path, dtype: torch.dtype, config: Path | None, is_sdxl: bool) -> Any:
    # Imported here because importing pipelines logs warnings about picture processors that nobody needs.
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    given: dict[str, Any] = {"feature_extractor": None, "image_encoder": None}
    if not is_sdxl:
        given |= {"safety_checker": None, "requires_safety_checker": False}
    if config is not None:
        for part in ("tokenizer", "tokenizer_2") if is_sdxl else ("tokenizer",):
            given[part] = read_tokenizer(CLIPTokenizer, config / part, f"{part} of {config.name}")
    try:
        return (StableDiffusionXLPipeline if is_sdxl else StableDiffusionPipeline).from_single_file(
            str(path),
            config=None if config is None else str(config),
            torch_dtype=dtype,
            local_files_only=config is not None,
            **given,
        )
    except (
        OSError,
        ValueError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
        SingleFileComponentError,
    ) as error:
        raise BaseModelError(
            f"{path.name} cannot be loaded: it is incomplete, or `config` describes another model ({error})."
        ) from error


def _count_values(path: Path) -> Counter[str]:
    """How many values a checkpoint has in each of its parts; reads the header only."""
    values: Counter[str] = Counter()
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - the reader cannot be iterated
                for prefix in (UNET, VAE, TEXT, TEXT_XL):
                    if name.startswith(prefix):
                        values[prefix] += torch.Size(file.get_slice(name).get_shape()).numel()
    except (SafetensorError, OSError) as error:
        raise BaseModelError(f"{path.name} is not a .safetensors file, or it is damaged ({error}).") from error
    return values


def _written_config(scheduler: Any) -> dict[str, Any]:
    """A scheduler's configuration as it stands in its file, without defaults: another sampler has its own defaults."""
    config = dict(scheduler.config)
    defaults = config.pop("_use_default_values", [])
    return {"_class_name": type(scheduler).__name__, **{k: v for k, v in config.items() if k not in defaults}}
