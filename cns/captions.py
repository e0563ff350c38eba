"""Captioners: what is to be seen in a concept's pictures, in words, so that only what words miss is learned.

A captioner writes about "a dog"; `with_token` puts "<rex> dog" in its place. People may edit what comes out. Of a
manner it says on what this is seen, "a drawing of a cat", so that the cat is not learned with it.
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
from cns.phrases import load_phrase_bank, load_subject_bank
from cns.preprocessing import read_preprocessing
from cns.pretrained import find_folder, load_frozen, load_tokenizer
from cns.wording import find_frame, say_of, speak

TEMPLATE = "a photo of a {noun}"
SLOT = "\0"  # where a subject goes
SOMETHING = "something"
"""What a manner is seen on, of a picture that nobody has looked at."""


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
    "a photo of a <rex> dog" in front, or where the noun is a manner is what this is seen on: "a cat in the snow" -> "a
    <noir> drawing of a cat in the snow". One that already names the token is left as its writer wants it.
    """
    return caption if token in caption else _with_words(caption, class_noun, f"{token} {class_noun}")


def without_noun(caption: str, class_noun: str, slot: str) -> str:
    """The caption for whatever is called otherwise, with `slot` for its noun: "a thing on the grass" -> "a {noun} on
    the grass". A caption that does not say the noun gets "a photo of a {noun}" in front.
    """
    return _with_words(caption, class_noun, slot)


def subject_of(caption: str, class_noun: str) -> str:
    """What a picture shows, from a caption about it in some manner: "a drawing of a cat" -> "a cat"; "" where the
    captioner could not say.
    """
    frame = find_frame(class_noun)
    before, behind = (part.replace("{}", class_noun) for part in frame or ("", ""))
    if frame is None or not (caption.startswith(before) and caption.endswith(behind)):
        return ""
    said = caption.removeprefix(before).removesuffix(behind).strip()
    return "" if said == SOMETHING else said


def _with_words(caption: str, class_noun: str, words: str) -> str:
    """`words` in the place of the first noun, or in front in a sentence of their own."""
    whole_word = re.compile(rf"(?<!\w){re.escape(class_noun)}(?!\w)", re.IGNORECASE)
    replaced, found = whole_word.subn(lambda _: words, caption, count=1)
    if found:
        return replaced
    said, frame = caption.strip(), find_frame(class_noun)
    if frame is not None:
        return say_of(frame, words, said or SOMETHING)
    return ", ".join(part for part in (f"a photo of a {words}", said) if part)


class TemplateCaptioner:
    """The same sentence for every picture. Needs no model; backgrounds that repeat are learned with the concept."""

    def __init__(self, template: str = TEMPLATE) -> None:
        _check_template(template)
        self.template = template

    def caption(self, pictures: Sequence[Image.Image], class_noun: str) -> list[str]:
        """As many times the template with the noun in it."""
        return [_about(self.template, class_noun)] * len(pictures)


class RetrievalCaptioner:
    """Chooses for each picture the phrase that a CLIP finds most fitting: "a photo of a dog on the grass".

    phrase_bank: what may follow the noun; saying nothing is a choice too. subject_bank: what a manner may be seen on.
    None for the lists shipped here.
    """

    def __init__(
        self,
        judge: Judge,
        phrase_bank: Sequence[str] | None = None,
        template: str = TEMPLATE,
        subject_bank: Sequence[str] | None = None,
    ) -> None:
        _check_template(template)
        self.judge, self.template = judge, template
        self.phrase_bank = tuple(load_phrase_bank() if phrase_bank is None else phrase_bank)
        self.subject_bank = tuple(load_subject_bank() if subject_bank is None else subject_bank) or (SOMETHING,)

    @classmethod
    def of_base(cls, judge: Judge, base_folder: str | Path | None) -> "RetrievalCaptioner":
        """With the lists that a base model brings, in words that it knows, where it brings any."""
        return cls(judge, load_phrase_bank(base_folder), subject_bank=load_subject_bank(base_folder))

    def caption(self, pictures: Sequence[Image.Image], class_noun: str) -> list[str]:
        """The best of the template alone and the template with each phrase, by cosine, for each picture; of a manner
        the best subject and nothing more, as what a picture of it is otherwise may well be the manner itself.
        """
        if not pictures:
            return []
        if find_frame(class_noun) is None:
            bare = _about(self.template, class_noun)
            candidates = [bare, *(f"{bare} {phrase}" for phrase in self.phrase_bank)]
        else:
            candidates = [_about(self.template, class_noun, subject) for subject in self.subject_bank]
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
        opening, behind = self._opening(class_noun)
        begun = tokenizer(opening, return_tensors="pt").input_ids.to(self.device)
        captions = []
        for picture in pictures:  # one by one: learning has ten pictures at most, and a batch would hold them all
            pixels = preprocessing.prepare([picture]).to(self.device)
            with torch.no_grad():
                written = model.generate(
                    pixel_values=pixels, input_ids=begun.clone(), num_beams=3, do_sample=False, max_new_tokens=20
                )
            captions.append(" ".join(tokenizer.decode(written[0], skip_special_tokens=True).split()) + behind)
        return captions

    def _opening(self, class_noun: str) -> tuple[str, str]:
        """What BLIP goes on from, and what follows when it has ended: "a drawing of", so that it says of what."""
        opening, _, behind = _about(self.template, class_noun, SLOT).partition(SLOT)
        return opening.rstrip(), behind

    def _load(self) -> tuple[Any, ...]:
        if self._loaded is None:
            folder = find_folder(self.source)
            preprocessing = read_preprocessing(folder)
            model = load_frozen(BlipForConditionalGeneration, folder, self.device)
            rows = model.get_input_embeddings().num_embeddings
            self._loaded = (model, load_tokenizer(AutoTokenizer, folder, rows), preprocessing)
        return self._loaded


def _about(template: str, class_noun: str, subject: str = SOMETHING) -> str:
    """The template about a thing of that noun, or about the subject in a manner."""
    return speak(template.replace("{noun}", "{}"), class_noun, class_noun, subject)


def _check_template(template: str) -> None:
    if "{noun}" not in template:
        raise CaptionError(f"A caption template must have {{noun}} in it; this one has not: {template}")
