"""Captioners: what is to be seen in a concept's pictures, in words, so that only what words miss is learned.

A captioner writes about "a dog"; `with_token` puts "<rex> dog" in its place. People may edit what comes out.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from transformers import AutoTokenizer, BlipForConditionalGeneration

from cns.errors import CnsError
from cns.judge import Judge
from cns.phrases import load_phrase_bank
from cns.preprocessing import read_preprocessing
from cns.pretrained import find_folder, load_frozen, load_tokenizer

TEMPLATE = "a photo of a {noun}"


class CaptionError(CnsError):
    """A captioner is asked for something it cannot write."""


class Captioner(Protocol):
    """Whatever writes one caption for each picture."""

    def caption(self, pictures: Sequence[Image.Image], class_noun: str) -> list[str]:
        """Pictures of a `class_noun` -> as many captions, in order, each about a thing of that noun."""
        ...


def with_token(caption: str, class_noun: str, token: str) -> str:
    """The caption about this one individual: "a dog on the grass" -> "a <rex> dog on the grass".

    The first occurrence of the noun as a whole word counts, in any case. A caption without the noun gets
    "a photo of a <rex> dog" in front; one that already names the token is left as its writer wants it.
    """
    return caption if token in caption else _with_words(caption, class_noun, f"{token} {class_noun}")


def without_noun(caption: str, class_noun: str, slot: str) -> str:
    """The caption for whatever is called otherwise, with `slot` for its noun: "a thing on the grass" -> "a {noun} on
    the grass". A caption that does not say the noun gets "a photo of a {noun}" in front.
    """
    return _with_words(caption, class_noun, slot)


def _with_words(caption: str, class_noun: str, words: str) -> str:
    """`words` in the place of the first noun, or in front in a sentence of their own."""
    whole_word = re.compile(rf"(?<!\w){re.escape(class_noun)}(?!\w)", re.IGNORECASE)
    replaced, found = whole_word.subn(lambda _: words, caption, count=1)
    if found:
        return replaced
    return ", ".join(part for part in (f"a photo of a {words}", caption.strip()) if part)


class TemplateCaptioner:
    """The same sentence for every picture. Needs no model; backgrounds that repeat are learned with the concept."""

    def __init__(self, template: str = TEMPLATE) -> None:
        _check_template(template)
        self.template = template

    def caption(self, pictures: Sequence[Image.Image], class_noun: str) -> list[str]:
        """As many times the template with the noun in it."""
        return [self.template.format(noun=class_noun)] * len(pictures)


class RetrievalCaptioner:
    """Chooses for each picture the phrase that a CLIP finds most fitting: "a photo of a dog on the grass".

    phrase_bank: what may follow the noun; None for the list shipped here. A base model may bring a list of its own, in
    words that it knows: see `cns.phrases.load_phrase_bank`. Saying nothing is a choice too.
    """

    def __init__(self, judge: Judge, phrase_bank: Sequence[str] | None = None, template: str = TEMPLATE) -> None:
        _check_template(template)
        bank = load_phrase_bank() if phrase_bank is None else phrase_bank
        self.judge, self.phrase_bank, self.template = judge, tuple(bank), template

    def caption(self, pictures: Sequence[Image.Image], class_noun: str) -> list[str]:
        """The best of the template alone and the template with each phrase, by cosine, for each picture."""
        if not pictures:
            return []
        bare = self.template.format(noun=class_noun)
        candidates = [bare, *(f"{bare} {phrase}" for phrase in self.phrase_bank)]
        fit = self.judge.image_features(pictures) @ self.judge.text_features(candidates).T  # (pictures, candidates)
        return [candidates[best] for best in fit.argmax(dim=1).tolist()]


class BlipCaptioner:
    """Sentences by BLIP, which goes on from "a photo of a dog", so that the noun is always there.

    source: a folder or hub id of a BlipForConditionalGeneration with .safetensors weights. They are read when the
    first caption is asked for, as they are large and many runs never need them.
    """

    def __init__(self, source: str | Path, device: str | torch.device = "cpu", template: str = TEMPLATE) -> None:
        _check_template(template)
        self.source, self.device, self.template = source, device, template
        self._loaded: tuple[Any, ...] | None = None

    def caption(self, pictures: Sequence[Image.Image], class_noun: str) -> list[str]:
        """One sentence a picture, found by beam search, so the same picture always gets the same one."""
        model, tokenizer, preprocessing = self._load()
        begun = tokenizer(self.template.format(noun=class_noun), return_tensors="pt").input_ids.to(self.device)
        captions = []
        for picture in pictures:  # one by one: learning has ten pictures at most, and a batch would hold them all
            pixels = preprocessing.prepare([picture]).to(self.device)
            with torch.no_grad():
                written = model.generate(
                    pixel_values=pixels, input_ids=begun.clone(), num_beams=3, do_sample=False, max_new_tokens=20
                )
            captions.append(" ".join(tokenizer.decode(written[0], skip_special_tokens=True).split()))
        return captions

    def _load(self) -> tuple[Any, ...]:
        if self._loaded is None:
            folder = find_folder(self.source)
            preprocessing = read_preprocessing(folder)
            model = load_frozen(BlipForConditionalGeneration, folder, self.device)
            self._loaded = (model, load_tokenizer(AutoTokenizer, folder), preprocessing)
        return self._loaded


def _check_template(template: str) -> None:
    if "{noun}" not in template:
        raise CaptionError(f"A caption template must have {{noun}} in it; this one has not: {template}")
