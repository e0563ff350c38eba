"""How hard a concept's token still pulls when little noise is left, in units of all other words (decision 0025).

A word that says what a picture shows has nothing left to say once the picture shows it: what the UNet answers with it
and without it comes to the same. A style that the base has never seen goes on pulling to the end, as without its token
the UNet takes every picture of it back to what it knows. Guidance makes each step's pull several times as large, and
so such a picture runs far past its style; one of a thing does not.
"""

import re
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version
from cns.kv import handed_attention, join_rows, predict
from cns.learning_rows import EncodedPictures
from cns.losses import noisy_latents
from cns.prompts import EncodedPrompt, encode_prompt, encode_unwanted
from cns.text import without_token

LITTLE_NOISE = 0.2
"""Which of the schedule's noise levels is looked at, as a share of their number."""
WIDE_PULL = 2.5
"""From here on a concept is of the whole picture. By docs/decisions/0025 things lie below 1.6 and others above 4."""

ARTICLES = frozenset(("a", "an", "the"))


@torch.no_grad()
def pull_of_token(
    base: BaseModel, version: Version, pictures: EncodedPictures, token: str, class_noun: str, signal: Tensor
) -> float:
    """The pull of `token` under `version`, which has learned it, on the `pictures` that it was learned from.

    class_noun  the word that stands for all others in a caption that has no other
    signal      (steps of training,) cumulative product of alphas, on the latents' device
    returns     over all pictures, the root of the mean square of what the UNet answers to a caption less what it
                answers to the caption without the token, over that of the latter less the answer to no words; 0 and
                above
    """
    time = torch.tensor([int(LITTLE_NOISE * len(signal))], device=base.device)
    generator = torch.Generator().manual_seed(0)  # on the CPU, so that the noise is the same on every device
    nothing = encode_unwanted(base, version, "", partial(encode_prompt, base))
    captions = [with_words(caption, token, class_noun) for caption in pictures.captions]
    prompts = [
        (nothing, encode_prompt(base, version, without_token(caption, token)), encode_prompt(base, version, caption))
        for caption in captions
    ]
    of_token = of_words = 0.0
    with handed_attention(base.unet):
        for latents, which in zip(pictures.latents.split(1), pictures.caption_of.tolist(), strict=True):
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            noisy = noisy_latents(latents, noise, signal[time])
            without, words, with_token = _answers(base, prompts[which], noisy, time, pictures.side_px)
            of_token += float((with_token - words).square().sum())
            of_words += float((words - without).square().sum())
    return float((of_token / max(of_words, torch.finfo(torch.float32).tiny)) ** 0.5)


def with_words(caption: str, token: str, class_noun: str) -> str:
    """The caption, where it says anything beside its concept; else with its noun: "a <noir>" -> "a <noir> drawing"."""
    if set(re.findall(r"\w+", without_token(caption, token).lower())) - ARTICLES:
        return caption
    return caption.replace(token, f"{token} {class_noun}")


def _answers(
    base: BaseModel, prompts: Sequence[EncodedPrompt], noisy: Tensor, time: Tensor, side_px: int
) -> Sequence[Tensor]:
    """What the UNet answers to each of `prompts` about one picture, (1, channels, height, width) float32 each."""
    pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
    added = base.added_conditions(torch.cat(pooled) if pooled else None, side_px, side_px)
    rows, times = noisy.to(base.dtype).expand(len(prompts), -1, -1, -1), time.expand(len(prompts))
    return predict(base, rows, times, join_rows([prompt.kv for prompt in prompts]), added).float().split(1)
