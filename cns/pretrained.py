"""Loading a transformers model that judges or captions: a folder or a hub id, weights as .safetensors only."""

import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError

from cns.components import quiet
from cns.errors import CnsError, PickleRefused
from cns.vocabulary import UnusableTokenizer, check_vocabulary, read_tokenizer

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
WANTED = ["*.json", "*.txt", "*.safetensors"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class PretrainedError(CnsError):
    """A model that judges or captions cannot be found or read."""


def find_folder(source: str | Path) -> Path:
    """The local folder of a model: `source` itself, or where the hub's copy lies once it is downloaded."""
    if Path(source).is_dir():
        return Path(source)
    if not isinstance(source, str) or not HUB_ID.fullmatch(source):
        raise PretrainedError(f"There is no model at {source}: a folder or a hub id is needed.")
    try:
        folder = Path(snapshot_download(source, allow_patterns=WANTED, ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:
        raise PretrainedError(
            f"There is no folder {source} here, and the hub could not give that model: {error}"
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise PretrainedError(f"{source} is not published as .safetensors; use a copy of that model which is.")
    return folder


def load_frozen(kind: Any, folder: Path, device: str | torch.device) -> Any:
    """A model of class `kind` in float32, in evaluation mode, no parameter of which asks for a gradient.

    Raises PickleRefused when its weights are pickles, PretrainedError when they are damaged or do not fit.
    """
    if not any(folder.glob("*.safetensors")):
        if any(file for pattern in PICKLES for file in folder.glob(pattern)):
            raise PickleRefused(
                f"The weights in {folder.name} are pickles, which could run any code when they are opened. "
                "Use a copy of the model that is saved as .safetensors."
            )
        raise PretrainedError(f"There are no .safetensors weights in the folder {folder.name}.")
    try:
        with quiet():
            model, found = kind.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise PretrainedError(f"The model in {folder.name} cannot be loaded: {error}") from error
    if found["missing_keys"]:
        raise PretrainedError(f"The model in {folder.name} lacks weights, such as {min(found['missing_keys'])}.")
    return model.requires_grad_(False).eval().to(device)


def load_tokenizer(kind: Any, folder: Path, rows: int) -> Any:
    """The tokenizer of class `kind` that lies beside a model's weights.

    rows: of the model's embedding of words. Raises PretrainedError when it is missing, damaged or of another model.
    """
    name = f"tokenizer in {folder.name}"
    try:
        tokenizer = read_tokenizer(kind, folder, name)
        check_vocabulary(tokenizer, rows, name)
    except UnusableTokenizer as error:
        raise PretrainedError(str(error)) from error
    return tokenizer
