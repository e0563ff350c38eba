"""The method's parts on a denoising transformer with cross-attention: the functions of `cns`, with no UNet about.

`cns.base_model` loads UNets alone. What it does with keys and values is not bound to them, as is shown here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor

from benchmarks.experiments.shapes import CAPTION_WIDTH, build_small_pixart, build_small_sd3
from benchmarks.experiments.static_text import largest_difference, text_moves, with_weights
from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.delta import Delta
from cns.kv import LayerKV, handed_attention, keys_and_values
from cns.selection import ConceptMasks, select_concept_neurons
from cns.settings import SelectionSettings
from cns.text import TextFeatures


@dataclass(frozen=True)
class Transformer:
    """A PixArt transformer as far as composing asks for a base: an id, a device, K/V weights by their names."""

    model: PixArtTransformer2DModel
    id: str = "a small transformer"

    @property
    def device(self) -> torch.device:
        """Where its tensors lie."""
        found: torch.device = self.model.device
        return found

    @cached_property
    def kv_weights(self) -> dict[str, Tensor]:
        """Cross-attention projection -> its weight (out, in), found by the same names as in a UNet."""
        return {
            name: module.weight
            for name, module in self.model.named_modules()
            if name.endswith(("attn2.to_k", "attn2.to_v"))
        }

    def read(self, text: Tensor, own: Tensor) -> TextFeatures:
        """What cross-attention reads of text states (batch, tokens, width): PixArt projects them first, once."""
        with torch.no_grad():
            return TextFeatures(self.model.caption_projection(text), own, None)

    def select(self, captions: TextFeatures, general: TextFeatures, settings: SelectionSettings) -> ConceptMasks:
        """The concept's entries, by CNS as it stands."""
        return select_concept_neurons(self.kv_weights, captions, general, settings)

    def compose(self, delta: Delta) -> Version:
        """The version with `delta`, by `cns.compose`, which reads of a base only what stands here."""
        return compose(cast(BaseModel, self), [delta])

    def keys_and_values(self, version: Version, hidden: Tensor) -> LayerKV:
        """K and V (batch, tokens, out) of every layer; PixArt's projections have biases, which no concept changes."""
        made = {}
        for layer, (key, value) in keys_and_values(version.weights, hidden).items():
            module = self.model.get_submodule(layer)
            made[layer] = (key + module.to_k.bias, value + module.to_v.bias)
        return made

    @torch.no_grad()
    def predict_handed(self, version: Version, latents: Tensor, times: Tensor, text: TextFeatures) -> Tensor:
        """The shared transformer with K and V handed in, a row at a time: (batch, channels, height, width).

        Masked tokens are left out of K and V instead of being masked: attention sees the same.
        """
        rows = []
        with handed_attention(self.model):
            for row, (hidden, own) in enumerate(zip(text.hidden, text.own, strict=True)):
                kv = self.keys_and_values(version, hidden[own][None])
                unread = latents.new_zeros(1, 1, self.model.config.caption_channels)
                rows.append(
                    self.model(
                        latents[row : row + 1],
                        encoder_hidden_states=unread,
                        timestep=times[row : row + 1],
                        cross_attention_kwargs={"kv": kv},
                        return_dict=False,
                    )[0]
                )
        return torch.cat(rows)

    @torch.no_grad()
    def predict_written(self, version: Version, latents: Tensor, times: Tensor, text: Tensor, own: Tensor) -> Tensor:
        """A copy of the transformer with the version's weights written in, called as it is meant to be."""
        written = with_weights(self.model, version)
        made: Tensor = written(
            latents,
            encoder_hidden_states=text,
            timestep=times,
            encoder_attention_mask=own.float(),
            return_dict=False,
        )[0]
        return made


def grown(base_weights: dict[str, Tensor], masks: ConceptMasks, base_id: str, factor: float = 1.5) -> Delta:
    """A delta as a learning might have left it: the concept's entries times `factor`."""
    where = {layer: mask.flatten().nonzero().flatten() for layer, mask in masks.concept.items()}
    return Delta(
        concept="mine",
        class_noun="dog",
        base_id=base_id,
        parent=None,
        positions=where,
        values={layer: (base_weights[layer].flatten()[spots] * factor).half() for layer, spots in where.items()},
        shapes={layer: (weight.shape[0], weight.shape[1]) for layer, weight in base_weights.items()},
        token_vectors=(torch.zeros(1),),
    )


# --- measured -------------------------------------------------------------------------------------------------------


def measure_pixart() -> dict[str, Any]:
    """Selection, composing and handing in on a transformer with cross-attention."""
    transformer = Transformer(build_small_pixart())
    generator = torch.Generator().manual_seed(1)

    def texts(lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Random text states, and which of the positions are the prompts' own."""
        own = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        return torch.randn(*own.shape, CAPTION_WIDTH, generator=generator), own

    captions, general = texts([7, 9, 8]), texts([6, 12, 9, 7, 11])
    masks = transformer.select(
        transformer.read(*captions), transformer.read(*general), SelectionSettings(general_vote=0.6)
    )
    delta = grown(transformer.kv_weights, masks, transformer.id)
    version = transformer.compose(Delta.from_bytes(delta.to_bytes(), base_id=transformer.id))
    latents = torch.randn(len(captions[0]), 4, 8, 8, generator=generator)
    times = torch.tensor([10, 500, 900])
    handed = transformer.predict_handed(version, latents, times, transformer.read(*captions))
    written, untouched = (
        transformer.predict_written(which, latents, times, *captions)
        for which in (version, compose(cast(BaseModel, transformer)))
    )
    model = transformer.model
    return {
        "context_width": next(iter(transformer.kv_weights.values())).shape[1],
        "kv_entries": sum(weight.numel() for weight in transformer.kv_weights.values()),
        "densities": masks.densities(),
        "handed_against_written": largest_difference(handed, written),
        "written_against_untouched": largest_difference(written, untouched),
        "text_moves": text_moves(
            lambda latents, times: model(
                latents, encoder_hidden_states=captions[0], timestep=times, encoder_attention_mask=captions[1].float()
            ),
            [model.get_submodule(layer) for layer in transformer.kv_weights],
            tuple(latents.shape),
        ),
    }


def measure_sd3() -> dict[str, Any]:
    """Whether joint attention leaves keys and values of text alone."""
    model = build_small_sd3()
    generator = torch.Generator().manual_seed(1)
    text, pooled = torch.randn(1, 8, CAPTION_WIDTH, generator=generator), torch.randn(1, 32, generator=generator)
    projections = [module for name, module in model.named_modules() if name.endswith(("add_k_proj", "add_v_proj"))]
    moves = text_moves(
        lambda latents, times: model(latents, encoder_hidden_states=text, pooled_projections=pooled, timestep=times),
        projections,
        (1, 4, 8, 8),
    )
    return {"kv_entries": sum(module.weight.numel() for module in projections), "text_moves": moves}
