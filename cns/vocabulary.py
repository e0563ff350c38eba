"""Tokenizers as they lie beside a model: whole, and with a vocabulary that the model's encoder has, or refused.

Where its files are missing transformers makes a tokenizer that knows no word, to which every prompt reads the same.
"""

from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from cns.components import quiet
from cns.errors import CnsError

WORD_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))
"""What holds a tokenizer's words: the files of any one of these. The last is of those that BLIP has."""

SPELLING = 512
"""Entries that every CLIP's vocabulary has: each byte within a word and at its end, to spell words it does not know."""


class UnusableTokenizer(CnsError):
    """A tokenizer is not there, is damaged, or belongs to another model."""


def read_tokenizer(kind: Any, folder: Path, name: str) -> Any:
    """The tokenizer of class `kind` in a folder; name: what a sentence calls it. Raises UnusableTokenizer."""
    if not any(all((folder / file).is_file() for file in files) for files in WORD_FILES):
        raise UnusableTokenizer(
            f"The {name} knows no words: neither tokenizer.json nor vocab.json with merges.txt lies in its folder."
        )
    try:
        with quiet():
            return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # what reads the files raises whatever it likes, bare Exceptions among it
        raise UnusableTokenizer(f"The {name} cannot be loaded: {error}") from error


def check_vocabulary(tokenizer: Any, rows: int, name: str) -> None:
    """Raise UnusableTokenizer unless an encoder with an embedding of so many rows has one for each of its words."""
    known = len(tokenizer)
    if known > rows:
        raise UnusableTokenizer(f"The {name} knows {known} words, but its text encoder {rows}: it is of another model.")
    if isinstance(tokenizer, CLIPTokenizer) and known < SPELLING:
        raise UnusableTokenizer(f"The {name} knows {known} words only, too few to spell any other: it is damaged.")
