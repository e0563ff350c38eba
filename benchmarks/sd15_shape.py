"""Captions, selection and learning at the size of Stable Diffusion 1.5, on one's own photographs.

`python -m benchmarks.sd15_shape PICTURES... --noun dog` builds the public architecture of Stable Diffusion 1.5 with
random weights (no download), learns a few steps, and reports seconds, memory, the densities of the three masks and
the overlap between prompts. Random weights say nothing about quality: this is about size, speed and arithmetic. With
`--base` it runs on real weights: the same figures are then the ones to compare with the paper's.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from cns.base_model import BaseModel, load_base
from cns.captions import TemplateCaptioner, with_token
from cns.compose import compose
from cns.learning import Concept, LearningRun, LearningSettings
from cns.phrases import load_calibration_prompts
from cns.pictures import read_picture
from cns.selection import prompt_overlap

PROMPTS = (
    "a portrait of an old fisherman with a white beard",
    "a busy street in Tokyo at night in the rain",
    "a bowl of fresh fruit on a kitchen table",
    "a herd of elephants crossing a river",
    "an abstract painting with bold geometric shapes",
)


def build_byte_tokenizer() -> CLIPTokenizer:
    """A tokenizer in CLIP's form that knows single bytes alone, within words and at their ends."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {letter + end: 0 for end in ("", "</w>") for letter in letters}
    vocabulary = {piece: number for number, piece in enumerate([*vocabulary, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def random_sd15(seed: int = 0) -> StableDiffusionPipeline:
    """The architecture of Stable Diffusion 1.5 with random weights in float32, as a pipeline.

    Its tokenizer knows bytes alone, as the real vocabulary is not at hand: prompts are longer in tokens than they
    would be.
    """
    torch.manual_seed(seed)
    tokenizer = build_byte_tokenizer()
    text = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def build_random_sd15(folder: Path, seed: int = 0) -> Path:
    """`random_sd15` in half precision, saved as a diffusers folder."""
    pipeline = random_sd15(seed)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        torch.nn.Module.half(part)
    pipeline.save_pretrained(folder)
    return folder


def peak_memory_mb(device: torch.device) -> float:
    """Most memory held so far: on the GPU when there is one, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(base: BaseModel, pictures: list[Path], noun: str, steps: int, side_px: int, batch: int) -> dict[str, Any]:
    """Run captions, selection and `steps` of learning; returns what was measured."""
    figures: dict[str, Any] = {"side_px": side_px, "batch": batch, "steps": steps, "dtype": str(base.dtype)}
    figures["kv_entries"] = sum(weight.numel() for weight in base.kv_weights.values())
    figures["unet_parameters"] = sum(parameter.numel() for parameter in base.unet.parameters())
    started = time.monotonic()
    images = tuple(read_picture(path) for path in pictures)
    captions = tuple(with_token(text, noun, "<mine>") for text in TemplateCaptioner().caption(images, noun))
    figures["seconds_captions"] = round(time.monotonic() - started, 2)
    started = time.monotonic()
    settings = LearningSettings(steps=steps, batch=batch, resolution_px=side_px)
    run = LearningRun(base, compose(base), Concept("mine", noun, images, captions), settings)
    figures["seconds_selection_and_latents"] = round(time.monotonic() - started, 2)
    figures["density"] = run.densities
    figures["values_learned"] = run.values.numel()
    figures["share_of_all_unet_parameters"] = run.values.numel() / figures["unet_parameters"]
    started = time.monotonic()
    while not run.done:
        run.step()
    figures["seconds_per_step"] = round((time.monotonic() - started) / steps, 2)
    figures["losses"] = [round(loss, 4) for loss in run.losses]
    delta = run.finish()
    figures["delta_bytes"] = len(delta.to_bytes())
    figures["peak_memory_mb"] = round(peak_memory_mb(base.device))
    features = base.text_features(PROMPTS)
    figures["prompt_overlap"] = prompt_overlap(base.kv_weights, features, settings.selection)
    figures["calibration_prompts"] = len(load_calibration_prompts()[: settings.selection.general_prompts])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--noun", required=True)
    parser.add_argument("--base", default=None, help="a real base instead of random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/sd15_shape.json"))
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    with tempfile.TemporaryDirectory() as scratch:
        source = options.base or build_random_sd15(Path(scratch) / "sd15")
        base = load_base(source, device=options.device, dtype=dtype)
    figures = measure(base, options.pictures, options.noun, options.steps, options.side, options.batch)
    figures |= {
        "weights": options.base or "random",
        "device": options.device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pictures": len(options.pictures),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=1) + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
