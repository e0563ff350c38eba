"""A version in forms that other programs load: a whole diffusers folder, Custom Diffusion's attention processors, LoRA.

Exact where the form allows it: the folder and the attention processors hold the version's weights themselves. LoRA can
hold only a low-rank part of a sparse difference, so its residual is measured and returned for every layer. Values that
apply at their token alone fit into none of them: such a version is to be spread into weights first (`cns.spreading`).
"""

import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import AddedToken

from cns.base_model import BaseModel, TokenVectors
from cns.components import quiet
from cns.compose import Version
from cns.errors import CnsError

CUSTOM_DIFFUSION_FILE = "pytorch_custom_diffusion_weights.safetensors"
LORA_FILE = "pytorch_lora_weights.safetensors"
ENCODER_KEYS = ("clip_l", "clip_g")  # what SDXL's two text encoders are called in token files
END_OF_TEXT_LINE = "pipe.text_encoder_2.text_model.eos_token_id = pipe.tokenizer_2.eos_token_id"
"""What `pipe` is to be told before it draws with <token>s; see `end_of_text_line`."""


class ExportError(CnsError):
    """A version cannot be exported there, or not in that form."""


def export_diffusers(base: BaseModel, version: Version, out: str | Path) -> Path:
    """Write a complete diffusers pipeline whose UNet has the version's weights and whose tokenizer knows its <tokens>.

    The base in memory is not touched: copies share its tensors, except for the few that differ. The folder is a base
    model by itself, also for `load_base`. Raises ExportError for a version with values that weights do not hold.
    """
    _check_weights_are_all(version)
    with _new_folder(out) as folder, quiet():
        tokenizers, encoders = [], []
        for place, (tokenizer, encoder) in enumerate(zip(base.tokenizers, base.text_encoders)):
            vectors = {name: brought[place] for name, brought in version.tokens.items()}
            learned = _tokenizer_with(tokenizer, vectors, folder / f"tokenizer_{place}.part")
            tokenizers.append(learned)
            encoders.append(_encoder_with(encoder, learned, vectors))
        parts: dict[str, Any] = {
            "vae": base.vae,
            "unet": _unet_with(base, version),
            "scheduler": _scheduler_of(base),
            "tokenizer": tokenizers[0],
            "text_encoder": encoders[0],
        }
        if base.kind == "sdxl":
            parts |= {"tokenizer_2": tokenizers[1], "text_encoder_2": encoders[1], "add_watermarker": False}
            parts["force_zeros_for_empty_prompt"] = base.zeros_for_no_words
            StableDiffusionXLPipeline(**parts).save_pretrained(folder)
        else:
            parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
            StableDiffusionPipeline(**parts).save_pretrained(folder)
    return Path(out)


def export_custom_diffusion(base: BaseModel, version: Version, out: str | Path) -> Path:
    """Write Custom Diffusion's file of K and V for every cross-attention layer, and the tokens as textual inversions.

    To be loaded with `pipeline.unet.load_attn_procs(folder, weight_name=CUSTOM_DIFFUSION_FILE, _pipeline=pipeline)`:
    without `_pipeline` diffusers 0.42 reads the file and then sets nothing. Self-attention layers are named with empty
    tensors, since the loader wants one entry for each attention layer of the UNet. On a base for which
    `end_of_text_line` has a line, that belongs to loading. Raises ExportError as `export_diffusers` does.
    """
    _check_weights_are_all(version)
    tensors: dict[str, Tensor] = {}
    for processor in base.unet.attn_processors:
        layer = processor.removesuffix(".processor")
        if f"{layer}.to_k" not in version.weights:
            tensors[processor] = torch.empty(0)
            continue
        for letter in "kv":
            weight = version.weights[f"{layer}.to_{letter}"]
            tensors[f"{processor}.to_{letter}_custom_diffusion.weight"] = _storable(weight)
    with _new_folder(out) as folder:
        save_file(tensors, folder / CUSTOM_DIFFUSION_FILE, metadata={"format": "pt"})
        _write_tokens(version.tokens, folder)
    return Path(out)


def export_lora(base: BaseModel, version: Version, out: str | Path, rank: int = 16) -> dict[str, float]:
    """Write the version as LoRA of at most `rank`, in the keys of peft, and the tokens as textual inversions.

    Returns what LoRA leaves out: name of each changed layer -> ||D - BA|| / ||D||, where D is the difference to the
    base; 0 is exact. The same figures stand in residuals.json beside the weights. On a base for which
    `end_of_text_line` has a line, that belongs to loading. Raises ExportError as `export_diffusers` does, and for the
    bare base.
    """
    _check_weights_are_all(version)
    tensors: dict[str, Tensor] = {}
    residuals: dict[str, float] = {}
    for name, difference in _differences(base, version).items():
        down, up, residuals[name] = low_rank(difference, rank)
        tensors[f"unet.{name}.lora_A.weight"] = _storable(down)
        tensors[f"unet.{name}.lora_B.weight"] = _storable(up)
    if not tensors:
        raise ExportError("This version is the bare base, which has no difference to write as LoRA.")
    with _new_folder(out) as folder:
        save_file(tensors, folder / LORA_FILE, metadata={"format": "pt"})
        (folder / "residuals.json").write_text(json.dumps({"rank": rank, "residuals": residuals}, indent=1) + "\n")
        _write_tokens(version.tokens, folder)
    return residuals


def end_of_text_line(base: BaseModel) -> str | None:
    """A line of Python that the base's pipeline, `pipe`, has to be told when textual inversions were loaded into it.

    As published, SDXL's second encoder names a wrong end-of-text in its configuration. The pooled text is then read at
    the highest id of a prompt, which is that of the end until a <token> is added, and of the <token> afterwards. None
    for a base that needs no such line.
    """
    if base.kind != "sdxl" or base.text_encoders[1].config.eos_token_id == base.tokenizers[1].eos_token_id:
        return None
    return END_OF_TEXT_LINE


def low_rank(difference: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The nearest matrix of at most `rank` to D, as two factors, and what it misses.

    difference: (out, in), not all zero. Returns A (r, in), B (out, r) and ||D - BA|| / ||D||, where r is the rank used.
    The singular values are shared out evenly, so that neither factor loses precision in float16.
    """
    if rank < 1:
        raise ExportError(f"The rank of a LoRA must be at least 1, not {rank}.")
    left, strengths, right = torch.linalg.svd(difference.detach().double(), full_matrices=False)
    used = max(1, min(rank, int((strengths > strengths[0] * 1e-7).sum())))
    roots = strengths[:used].sqrt()
    missed = float(strengths[used:].norm() / strengths.norm())
    return (roots[:, None] * right[:used]).float(), (left[:, :used] * roots).float(), missed


def _check_weights_are_all(version: Version) -> None:
    if version.at_tokens:
        named = ", ".join(version.at_tokens)
        raise ExportError(
            f"The values of {named} apply at their token alone, which files of this form cannot say; spread them into "
            "the weights first."
        )


def _differences(base: BaseModel, version: Version) -> dict[str, Tensor]:
    """Layer -> (out, in) float32 difference to the base, for the layers that differ."""
    found = {name: version.weights[name].float() - weight.float() for name, weight in base.kv_weights.items()}
    return {name: difference for name, difference in found.items() if difference.any()}


# --- copies that share the base's tensors ---------------------------------------------------------------------------


def _unet_with(base: BaseModel, version: Version) -> Any:
    # Detached: the base's own parameters, given as they are, would be made trainable by being assigned.
    weights = {f"{name}.weight": weight.detach() for name, weight in version.weights.items()}
    with torch.device("meta"):
        unet = type(base.unet).from_config(base.unet.config)
    unet.load_state_dict({**base.unet.state_dict(), **weights}, assign=True)
    return unet


def _tokenizer_with(tokenizer: Any, vectors: Mapping[str, Tensor], scratch: Path) -> Any:
    """A tokenizer that knows the <tokens>; it is copied by way of the disk, as its parts cannot be copied in memory."""
    tokenizer.save_pretrained(scratch)
    learned = type(tokenizer).from_pretrained(scratch, local_files_only=True)
    shutil.rmtree(scratch)
    # As they are written: <Rex> and <rex> are two concepts, and CLIP's tokenizers would take both for <rex>.
    learned.add_tokens([AddedToken(name, normalized=False) for name in vectors])
    return learned


def _encoder_with(encoder: Any, tokenizer: Any, vectors: Mapping[str, Tensor]) -> Any:
    """A text encoder that has a row for each <token>, at the ids that `tokenizer` gives them."""
    if not vectors:
        return encoder
    old = encoder.get_input_embeddings().weight
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in vectors}
    rows = old.new_zeros(max(len(old), max(ids.values()) + 1), old.shape[1])
    rows[: len(old)] = old
    for name, vector in vectors.items():
        rows[ids[name]] = vector.to(rows)
    config = copy.deepcopy(encoder.config)
    config.vocab_size = len(rows)
    # Old configurations name a wrong end-of-text: see `end_of_text_line`.
    config.eos_token_id = tokenizer.eos_token_id
    with torch.device("meta"):
        learned = type(encoder)(config)
    table = next(key for key, value in encoder.state_dict(keep_vars=True).items() if value is old)
    learned.load_state_dict({**encoder.state_dict(), table: rows}, assign=True)
    return learned


def _scheduler_of(base: BaseModel) -> Any:
    kind = getattr(diffusers, str(base.scheduler_config.get("_class_name")), diffusers.DDIMScheduler)
    return kind.from_config(base.scheduler_config)


# --- files ----------------------------------------------------------------------------------------------------------


def _write_tokens(tokens: Mapping[str, TokenVectors], folder: Path) -> None:
    """Each <token> as a textual inversion file: tokens/rex.safetensors."""
    (folder / "tokens").mkdir()
    for name, vectors in tokens.items():
        keys = (name,) if len(vectors) == 1 else ENCODER_KEYS
        content = {key: _storable(vector)[None] for key, vector in zip(keys, vectors)}
        save_file(content, folder / "tokens" / f"{name.strip('<>')}.safetensors", metadata={"format": "pt"})


def _storable(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


@contextmanager
def _new_folder(out: str | Path) -> Iterator[Path]:
    """A folder that becomes `out` when the block ends well, and vanishes when it does not."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} exists and is not empty: an export needs a new folder.")
    folder = out.with_name(f".{out.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        if out.exists():
            out.rmdir()
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
