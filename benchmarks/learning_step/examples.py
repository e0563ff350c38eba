"""What each of diffusers' examples trains."""

import copy
from typing import Any

import torch
from diffusers.loaders import AttnProcsLayers
from diffusers.models.attention_processor import (
    AttnProcessor,
    CustomDiffusionAttnProcessor,
    CustomDiffusionAttnProcessor2_0,
)
from torch import Tensor, nn

from benchmarks.learning_step.lesson import RARE, Lesson
from benchmarks.learning_step.published import Precision, PublishedStep, frozen_copy, text_reader, tokenize
from benchmarks.serving.peers import need_peft
from cns.base_model import BaseModel

LORA_RANK = 4
LORA_LAYERS = ("to_k", "to_q", "to_v", "to_out.0")


def dreambooth(base: BaseModel, lesson: Lesson, batch: int, precision: Precision, *, fused: bool) -> PublishedStep:
    """The whole UNet, in full precision as the example insists.

    fused: attention by scaled_dot_product_attention, which is what diffusers takes by itself; else written out, whose
    way back is faster on a CPU.
    """
    unet = nn.Module.float(copy.deepcopy(base.unet)).requires_grad_(True).train()
    _choose_attention(unet, fused)
    read = text_reader(base, precision.weights)
    return PublishedStep(base, lesson, batch, precision, unet, read, list(unet.parameters()))


def dreambooth_lora(
    base: BaseModel, lesson: Lesson, batch: int, precision: Precision, *, fused: bool, text_ahead: bool = False
) -> PublishedStep:
    """LoRA of rank 4 on every attention projection. text_ahead: its option `pre_compute_text_embeddings`."""
    need_peft()
    from peft import LoraConfig  # only where it is asked for: the project runs without peft

    unet = frozen_copy(base.unet, precision.weights).train()
    _choose_attention(unet, fused)
    unet.add_adapter(
        LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, init_lora_weights="gaussian", target_modules=list(LORA_LAYERS))
    )
    read = text_reader(base, precision.weights)
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    made = PublishedStep(base, lesson, batch, precision, unet, read, trained)
    if text_ahead:
        made.read_ahead()
    return made


def custom_diffusion(
    base: BaseModel, lesson: Lesson, batch: int, precision: Precision, *, fused: bool
) -> PublishedStep:
    """Keys and values of the text, and the embedding of a modifier token (`freeze_model="crossattn_kv"`)."""
    unet = frozen_copy(base.unet, precision.weights)
    kind = CustomDiffusionAttnProcessor2_0 if fused else CustomDiffusionAttnProcessor
    processors = {}
    for name in unet.attn_processors:
        layer = name.removesuffix(".processor")
        if f"{layer}.to_k" not in base.kv_weights:
            processors[name] = kind(train_kv=False, train_q_out=False)
            continue
        out, width = base.kv_weights[f"{layer}.to_k"].shape
        processors[name] = kind(train_kv=True, train_q_out=False, hidden_size=out, cross_attention_dim=width)
        own = {f"to_{kv}_custom_diffusion.weight": base.kv_weights[f"{layer}.to_{kv}"].float() for kv in "kv"}
        processors[name].load_state_dict(own)
        processors[name].to(base.device)
    unet.set_attn_processor(processors)
    layers = AttnProcsLayers(unet.attn_processors)
    token = ModifierToken(base, precision.weights)
    trained = [*token.embedding.parameters(), *layers.parameters()]
    return PublishedStep(base, lesson, batch, precision, unet, token.read, trained, token.keep_others)


class ModifierToken:
    """A text encoder whose table of embeddings is trained; before every update all rows but the token's are stilled."""

    def __init__(self, base: BaseModel, dtype: torch.dtype):
        self._encoder = frozen_copy(base.text_encoders[0], dtype)
        self.embedding: Any = self._encoder.get_input_embeddings().requires_grad_(True)
        tokenizer: Any = base.tokenizers[0]
        token = int(tokenize(base, [RARE])[0, 1])
        self._others = torch.arange(len(tokenizer)) != token

    def read(self, ids: Tensor) -> Tensor:
        states: Tensor = self._encoder(ids, return_dict=False)[0]
        return states

    def keep_others(self) -> None:
        gradient = self.embedding.weight.grad
        others = self._others[: len(gradient)].to(gradient.device).nonzero().flatten()
        gradient.data[others] = 0.0


def _choose_attention(unet: Any, fused: bool) -> None:
    if not fused:
        unet.set_attn_processor(AttnProcessor())
