"""The base model: loaded once, frozen for ever, read by every user's learning and generation at the same time."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from cns.components import Components
from cns.errors import BaseModelError
from cns.identity import base_id, checksum
from cns.layout import lay_out
from cns.loading import load_components
from cns.text import TextFeatures, TokenVectors, check_tokens, encode, known_tokens, tokenize

__all__ = ["BaseModel", "TextFeatures", "TokenVectors", "load_base"]


def load_base(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    config: str | Path | None = None,
) -> "BaseModel":
    """Load a base model: Stable Diffusion 1.x or 2.x, or SDXL.

    source: a diffusers folder, a hub id, or a single .safetensors checkpoint.
    config: for a checkpoint, the diffusers folder or hub id that describes its architecture and has its tokenizers.
    Raises PickleRefused for weights in a pickle and BaseModelError for anything else that cannot be loaded.
    """
    # Rounding to float16 while loading keeps the id, rounding to bfloat16 would not.
    components = load_components(source, torch.float16 if dtype is torch.float16 else torch.float32, config)
    return BaseModel(components, device=device, dtype=dtype)


class BaseModel:
    """A latent diffusion model with cross-attention to text, which nothing here ever writes.

    unet, vae, text_encoders, tokenizers: the parts, in evaluation mode, no parameter of which asks for a gradient.
    own_tokens: <token>s that it knows by itself, as one that was exported with concepts does.
    kind: "sd" for Stable Diffusion 1.x and 2.x, "sdxl" for SDXL.
    zeros_for_no_words: whether guidance leads away from zeros where nobody says what shall not be in a picture; else
        away from the features of the empty prompt.
    id: 64 hex digits, the same for the same model whatever the dtype it was saved or loaded in.
    scheduler_config: the noise schedule it was trained with, as its scheduler's configuration.
    native_px: the side of the pictures it was trained on. vae_scale: pixels per latent position, along one side.
    kv_weights: name of each cross-attention key or value projection, such as
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k" -> its weight (out, in), in the UNet's order.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL

    def __init__(self, components: Components, *, device: str | torch.device, dtype: torch.dtype) -> None:
        self.unet, self.vae = components.unet, components.vae
        self.text_encoders, self.tokenizers = components.text_encoders, components.tokenizers
        self.own_tokens = known_tokens(self.tokenizers)
        self.scheduler_config: dict[str, Any] = components.scheduler_config
        self.kind: Literal["sd", "sdxl"] = "sdxl" if len(self.text_encoders) == 2 else "sd"
        if self.kind == "sd":  # what the stock pipeline sets right in files of earlier years
            self.scheduler_config = {**self.scheduler_config, "steps_offset": 1, "clip_sample": False}
        self.zeros_for_no_words = components.zeros_for_no_words
        self.prediction_type: str = self.scheduler_config.get("prediction_type", "epsilon")
        self.id = base_id(self.unet, self.text_encoders, self.prediction_type)
        self.device, self.dtype = torch.device(device), dtype
        for module in self._modules().values():
            module.requires_grad_(False).eval()
            nn.Module.to(module, device=self.device, dtype=dtype)  # diffusers' own `to` warns of lists that are empty
        if self.kind == "sdxl" and dtype is torch.float16 and self.vae.config.force_upcast:
            nn.Module.to(self.vae, dtype=torch.float32)  # SDXL's autoencoder overflows in float16
        for module in (self.unet, self.vae):
            lay_out(module, self.device)
        self.vae_scale: int = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.native_px: int = self.unet.config.sample_size * self.vae_scale
        self.kv_weights: Mapping[str, Tensor] = MappingProxyType(
            {
                name: module.weight
                for name, module in self.unet.named_modules()
                if name.endswith(("attn2.to_k", "attn2.to_v"))
            }
        )
        self._encoding = threading.Lock()  # a hook on a shared encoder would be seen by another thread's prompts

    def _modules(self) -> dict[str, Any]:
        encoders = {f"text_encoder_{place}": encoder for place, encoder in enumerate(self.text_encoders)}
        return {"unet": self.unet, "vae": self.vae, **encoders}

    def checksum(self) -> str:
        """SHA-256 (64 hex digits) over every parameter and buffer as they are in memory now."""
        return checksum(self._modules())

    def token_vectors(self, word: str) -> TokenVectors:
        """The embedding of a word in each encoder: the mean over its pieces, float32, a copy of its own."""
        vectors = []
        for tokenizer, encoder in zip(self.tokenizers, self.text_encoders):
            pieces = tokenizer(word, add_special_tokens=False).input_ids
            if not pieces:
                raise BaseModelError("A class noun must have at least one letter.")
            vectors.append(encoder.get_input_embeddings().weight[pieces].float().mean(dim=0).detach().clone())
        return tuple(vectors)

    def check_tokens(self, prompts: Sequence[str], tokens: Mapping[str, TokenVectors]) -> None:
        """Raise UnknownToken for a <token> that is neither in `tokens` nor one of the base's own, BaseModelError for
        vectors that do not fit its encoders."""
        widths = [encoder.get_input_embeddings().embedding_dim for encoder in self.text_encoders]
        check_tokens(prompts, tokens, widths, self.own_tokens)

    def text_features(self, prompts: Sequence[str], tokens: Mapping[str, TokenVectors] | None = None) -> TextFeatures:
        """What the UNet reads of `prompts`, in which each <token> stands for the caller's own vectors.

        tokens: "<rex>" -> its vectors. The features are differentiable with respect to them.
        Prompts longer than the tokenizer allows are cut, keeping start-of-text and end-of-text.
        Raises UnknownToken for a <token> that is neither in `tokens` nor one of the base's own.
        """
        tokens = tokens or {}
        if not prompts:
            raise BaseModelError("Text features need at least one prompt.")
        self.check_tokens(prompts, tokens)
        words = self.own_tokens - tokens.keys()
        states, prompts_read, pooled = [], [], None
        for place, (tokenizer, encoder) in enumerate(zip(self.tokenizers, self.text_encoders)):
            length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
            tokenized = tokenize(tokenizer, prompts, length, words)
            vectors = {name: brought[place] for name, brought in tokens.items()}
            with self._encoding:
                hidden, output = encode(encoder, tokenized, vectors, penultimate=self.kind == "sdxl")
            states.append(hidden)
            prompts_read.append(tokenized)
            if self.kind == "sdxl":
                pooled = getattr(output, "text_embeds", None)  # only the second encoder has a projection
        first = prompts_read[0]
        return TextFeatures(torch.cat(states, dim=-1), first.own.to(self.device), pooled, first.placed)

    def added_conditions(self, pooled: Tensor | None, height_px: int, width_px: int) -> dict[str, Tensor] | None:
        """What SDXL's UNet wants beside the text: `pooled` (batch, width) and the picture's sizes. Otherwise None.

        The time ids (batch, 6) are original size, crop corner and target size, each as height and width in pixels.
        """
        if self.kind == "sd":
            return None
        if pooled is None:
            raise BaseModelError("SDXL needs the pooled text features of each prompt.")
        sizes = torch.tensor([height_px, width_px, 0, 0, height_px, width_px], device=pooled.device, dtype=pooled.dtype)
        return {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), 6)}

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Pictures (batch, 3, height, width) in -1..1 -> scaled latents: the posterior's mode, so always the same."""
        mean = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()
        centre, spread = self._latent_statistics()
        return ((mean - centre) / spread).to(self.dtype)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scaled latents -> pictures (batch, 3, height, width), float32 in 0..1."""
        centre, spread = self._latent_statistics()
        decoded = self.vae.decode(latents.to(self.device, self.vae.dtype) * spread + centre, return_dict=False)[0]
        return (decoded.float() / 2 + 0.5).clamp(0, 1)

    def _latent_statistics(self) -> tuple[Tensor | float, Tensor | float]:
        """What latents are centred on and divided by: (1, channels, 1, 1) each, or one number for all channels."""
        config = self.vae.config
        if config.latents_mean is None or config.latents_std is None:
            return config.shift_factor or 0.0, 1.0 / config.scaling_factor
        mean, std = (
            torch.tensor(numbers, device=self.device, dtype=self.vae.dtype).view(1, -1, 1, 1)
            for numbers in (config.latents_mean, config.latents_std)
        )
        return mean, std / config.scaling_factor
