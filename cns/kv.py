"""K and V of prompts, computed outside the UNet and handed in, so that the UNet itself is never written.

In cross-attention to static text, K = W^k c and V = W^v c depend on the prompt alone: not on the time step, not on the
picture. A personalised model is therefore the untouched base plus, for each row of a batch, that row's own K and V.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from cns.base_model import BaseModel
from cns.binding import BoundRows, seen_tokens
from cns.borrowing import borrowed
from cns.regions import RegionsOfRows, mix_regions

LayerKV = Mapping[str, tuple[Tensor, Tensor]]
"""Name of a cross-attention module ("... .attn2") -> its K and V, (batch, tokens, out) each."""

KEY, VALUE = ".to_k", ".to_v"

Predict = Callable[
    [BaseModel, Tensor, Tensor, LayerKV, Mapping[str, Tensor] | None, RegionsOfRows | None, BoundRows | None],
    Tensor,
]
"""A way to ask the UNet, called with what `predict` is called with, and answering what it answers."""


def keys_and_values(weights: Mapping[str, Tensor], hidden: Tensor) -> LayerKV:
    """K and V of every cross-attention layer.

    weights  layer -> (out, in), as in `BaseModel.kv_weights`
    hidden   (batch, tokens, in) text features
    returns  differentiable with respect to both
    """
    made = {}
    for name, weight in weights.items():
        if name.endswith(KEY):
            layer = name.removesuffix(KEY)
            value_weight = weights[layer + VALUE]
            made[layer] = (hidden @ weight.T.to(hidden), hidden @ value_weight.T.to(hidden))
    return made


def join_rows(rows: Sequence[LayerKV]) -> LayerKV:
    """One batch of several: K and V side by side along the batch, in the order of `rows`."""
    return {
        layer: (torch.cat([row[layer][0] for row in rows]), torch.cat([row[layer][1] for row in rows]))
        for layer in rows[0]
    }


class HandedAttention:
    """Attention whose text keys and values come with the batch, through `cross_attention_kwargs={"kv": ...}`.

    regions: for the rows that have any, the keys and values of their regions' prompts, and where these apply.
    bound: for the rows that have any, which concepts keep out of each other's places.
    Self-attention is as it always was. With gradients on a CPU the product is written out: the fused kernel there is
    several times slower backwards than two matrix products at these sizes.
    """

    def __init__(self, layer: str):
        self.layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        kv: LayerKV | None = None,
        regions: RegionsOfRows | None = None,
        bound: BoundRows | None = None,
    ) -> Tensor:
        residual, shape = hidden_states, hidden_states.shape
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        if hidden_states.ndim == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        query = attn.to_q(hidden_states)
        if kv is not None and self.layer in kv:
            key, value = (part.to(query) for part in kv[self.layer])
            made = _attend(attn, query, key, value)
            if bound is not None:
                made = _attend_apart(attn, query, key, value, made, bound)
            if regions:
                made = mix_regions(made, self._attend_to_regions(attn, query, regions), regions)
        else:
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            made = _attend(attn, query, attn.to_k(context), attn.to_v(context))
        made = attn.to_out[1](attn.to_out[0](made))
        if len(shape) == 4:
            made = made.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            made = made + residual
        return made / attn.rescale_output_factor

    def _attend_to_regions(self, attn: Any, query: Tensor, regions: RegionsOfRows) -> tuple[Tensor, ...]:
        """Each row with regions, attending to all of its regions' prompts: (regions, positions, width) for each.

        One call for all of them, each region a row of its own: however many there are, none needs padding.
        """
        found = [regional.kv[self.layer] for regional in regions.values()]
        counts = [len(key) for key, _ in found]
        queries = torch.cat([query[row].expand(count, -1, -1) for row, count in zip(regions, counts, strict=True)])
        keys, values = (torch.cat([pair[place] for pair in found]).to(query) for place in (0, 1))
        return _attend(attn, queries, keys, values).split(counts)


def _attend(attn: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None = None) -> Tensor:
    """Many-headed attention of (batch, positions, width) over (batch, tokens, width).

    seen: (batch, positions, tokens) bool, which tokens each position attends to; None for all.
    """
    rows, positions, width = query.shape
    q, k, v = (x.view(rows, x.shape[1], attn.heads, -1).transpose(1, 2) for x in (query, key, value))
    mask = None if seen is None else seen[:, None]  # the same for all heads
    if query.device.type == "cpu" and torch.is_grad_enabled():
        scores = (q * attn.scale) @ k.transpose(-1, -2)
        made = torch.softmax(scores if mask is None else scores.masked_fill(~mask, -torch.inf), dim=-1) @ v
    else:
        made = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attn.scale)
    return made.transpose(1, 2).reshape(rows, positions, width)


def _attend_apart(attn: Any, query: Tensor, key: Tensor, value: Tensor, made: Tensor, bound: BoundRows) -> Tensor:
    """What a batch's attention has `made`, with that of the bound rows in its place; the others to the bit."""
    q, k, v = query[bound.rows], key[bound.rows], value[bound.rows]
    return made.index_copy(0, bound.rows, _attend(attn, q, k, v, seen_tokens(q, k, bound)))


_LAYERS: WeakKeyDictionary[UNet2DConditionModel, Mapping[str, Any]] = WeakKeyDictionary()


def _attention_layers(unet: UNet2DConditionModel) -> Mapping[str, Any]:
    """Name -> attention layer, found once for each UNet: a walk over all its modules at every step would be felt."""
    if unet not in _LAYERS:
        _LAYERS[unet] = {name: part for name, part in unet.named_modules() if name.endswith(("attn1", "attn2"))}
    return _LAYERS[unet]


def handed_attention(unet: UNet2DConditionModel) -> AbstractContextManager[None]:
    """While the block runs, every attention layer of `unet` takes handed K and V; afterwards it is as it was.

    Blocks of several threads may overlap: it is as it was when the last of them has ended.
    """
    return borrowed(unet, "handed attention", partial(_hand_attention, unet))


@contextmanager
def _hand_attention(unet: UNet2DConditionModel) -> Iterator[None]:
    modules = _attention_layers(unet)
    before = {name: module.processor for name, module in modules.items()}
    try:
        for name, module in modules.items():
            module.processor = HandedAttention(name)
        yield
    finally:
        for name, module in modules.items():
            module.processor = before[name]


def predict(
    base: BaseModel,
    latents: Tensor,
    timesteps: Tensor,
    kv: LayerKV,
    added: Mapping[str, Tensor] | None = None,
    regions: RegionsOfRows | None = None,
    bound: BoundRows | None = None,
) -> Tensor:
    """One UNet call with K and V handed in. The UNet's own key and value projections of text are not used.

    latents    (batch, channels, height, width)
    timesteps  (batch,) each row may stand at its own
    kv         every cross-attention layer's K and V, `batch` rows each
    added      SDXL's conditions, see `BaseModel.added_conditions`
    regions    of the rows that have any: what else they attend to, and where
    bound      of the rows that have any: which concepts keep out of each other's places
    returns    (batch, channels, height, width): noise or velocity, as the base predicts
    Call it inside `handed_attention(base.unet)`.
    """
    # The UNet insists on text states but no layer reads them; one empty position per row costs nothing.
    width = base.unet.config.cross_attention_dim
    unread = latents.new_zeros(len(latents), 1, width)
    made: Tensor = base.unet(
        latents,
        timesteps,
        encoder_hidden_states=unread,
        cross_attention_kwargs={"kv": kv, "regions": regions, "bound": bound},
        added_cond_kwargs=dict(added) if added is not None else None,
        return_dict=False,
    )[0]
    return made
