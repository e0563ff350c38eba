"""Stage one: a byte-pair tokenizer over the world's captions, saved as a CLIPTokenizer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from storybook.world import caption, random_scene

MAX_TOKENS = 32  # the longest caption has 27 words and marks; UNet cost grows with every padded position
START, END = "<|startoftext|>", "<|endoftext|>"

# Words of no picture, so that a prompt from outside the world still breaks into letters and common pieces.
EVERYDAY_WORDS = """
a an the and or with without of in on at by to from for under over behind beside between near inside outside this
that these those my your his her its our their one two three photo picture drawing painting sketch portrait style
small big large tiny old new happy sad bright dark dog person man woman child toy cup teapot vase duck sky sun moon
water river mountain forest city street table chair book flower apple bread music winter summer
""".split()


def train_tokenizer(captions: list[str]) -> CLIPTokenizer:
    """Learn merges from captions and return the tokenizer.

    Every byte is in the vocabulary, so no prompt is ever unknown: foreign words fall apart into letters.
    """
    alphabet = sorted(ByteLevel.alphabet())
    marks = {START: 0, END: 1}
    tokenizer = CLIPTokenizer(vocab=marks, merges=[], model_max_length=MAX_TOKENS)
    backend = tokenizer.backend_tokenizer
    trainer = BpeTrainer(
        vocab_size=1400,
        min_frequency=2,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        special_tokens=[START, END],
        show_progress=False,
    )
    texts = captions + EVERYDAY_WORDS * 3
    backend.train_from_iterator(texts, trainer=trainer)
    learned = backend.model
    state = _read_model(learned)
    vocabulary: dict[str, int] = dict(state["vocab"])
    for letter in alphabet:
        for piece in (letter, letter + "</w>"):
            vocabulary.setdefault(piece, len(vocabulary))
    merges = [tuple(pair) for pair in state["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def _read_model(model: BPE) -> dict[str, Any]:
    """The vocabulary and merges of a trained BPE model (the binding exposes them only as its pickled JSON)."""
    state: dict[str, Any] = json.loads(model.__getstate__())
    return state


def run(folder: Path, captions: int = 20_000, seed: int = 0) -> CLIPTokenizer:
    """Train on `captions` random captions and save into `folder`/tokenizer."""
    rng = np.random.default_rng(seed)
    tokenizer = train_tokenizer([caption(random_scene(rng), rng) for _ in range(captions)])
    tokenizer.save_pretrained(folder / "tokenizer")
    return tokenizer
