"""The judge: a CLIP that says how alike pictures are, and how well a picture fits a text.

It is never trained here and knows nothing of what it judges. Scores of two judges cannot be compared, so each has an
id.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer

from cns.identity import checksum
from cns.preprocessing import Pictures, Preprocessing, read_preprocessing
from cns.pretrained import find_folder, load_frozen, load_tokenizer

BATCH = 32  # pictures or texts seen at once: bounds memory, changes no result


class ImageEncoder(Protocol):
    """Whatever sees likeness between pictures: a Judge, or an encoder trained to tell individuals apart."""

    @property
    def id(self) -> str:
        """What tells it from other encoders: scores with different ids cannot be compared."""
        ...

    def image_features(self, pictures: Pictures) -> Tensor:
        """Pictures -> (n, width) float32 on the CPU, each row of length 1."""
        ...


class Judge:
    """A CLIP with its tokenizer and its way of preparing pictures."""

    def __init__(self, model: Any, tokenizer: Any, preprocessing: Preprocessing) -> None:
        self.model, self.tokenizer, self.preprocessing = model, tokenizer, preprocessing
        self.device: torch.device = model.device
        # Some tokenizers claim an endless length; the position embeddings know better.
        self._most_tokens = min(tokenizer.model_max_length, model.config.text_config.max_position_embeddings)

    @cached_property
    def id(self) -> str:
        """SHA-256 (64 hex digits) over its weights: scores with different ids cannot be compared."""
        return checksum({"judge": self.model})

    @torch.no_grad()
    def image_features(self, pictures: Pictures) -> Tensor:
        """Pictures -> (n, width) float32 on the CPU, each row of length 1."""
        pixels = self.preprocessing.prepare(pictures)
        rows = []
        for part in pixels.split(BATCH):
            pooled = self.model.vision_model(pixel_values=part.to(self.device)).pooler_output
            rows.append(normalize(self.model.visual_projection(pooled).float(), dim=-1).cpu())
        return torch.cat(rows)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (n, width) float32 on the CPU, each row of length 1. Longer texts than CLIP reads are cut."""
        rows = []
        for start in range(0, len(texts), BATCH):
            tokenized = self.tokenizer(
                list(texts[start : start + BATCH]),
                padding=True,
                truncation=True,
                max_length=self._most_tokens,
                return_tensors="pt",
            ).to(self.device)
            states = self.model.text_model(
                input_ids=tokenized.input_ids, attention_mask=tokenized.attention_mask
            ).pooler_output
            rows.append(normalize(self.model.text_projection(states).float(), dim=-1).cpu())
        return torch.cat(rows) if rows else torch.empty(0, self.model.config.projection_dim)


def load_judge(source: str | Path, device: str | torch.device = "cpu") -> Judge:
    """A judge from the folder or hub id of any transformers CLIPModel with its tokenizer and preprocessor_config.json.

    Raises PretrainedError, PreprocessingError, or PickleRefused for weights that are not .safetensors.
    """
    folder = find_folder(source)
    preprocessing = read_preprocessing(folder)
    model = load_frozen(CLIPModel, folder, device)
    rows = model.text_model.get_input_embeddings().num_embeddings
    return Judge(model, load_tokenizer(CLIPTokenizer, folder, rows), preprocessing)
