"""Readable lists of phrases and prompts: one a line, `#` starts a comment line. A base model may bring its own."""

from pathlib import Path

from cns.errors import CnsError

HERE = Path(__file__).parent
PHRASE_BANK = "phrase_bank.txt"
SUBJECT_BANK = "subject_bank.txt"
GENERIC_PROMPTS = "generic_prompts.txt"
CALIBRATION_PROMPTS = "calibration_prompts.txt"


class EmptyList(CnsError):
    """A list of phrases has no phrase in it."""


def read_phrases(path: Path) -> tuple[str, ...]:
    """The lines of a file without blank ones, comments and repetitions, in their order."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    phrases = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not phrases:
        raise EmptyList(f"{path.name} has no line that is not a comment.")
    return phrases


def load_phrase_bank(base_folder: str | Path | None = None) -> tuple[str, ...]:
    """Settings, places and styles, such as "on the grass": those in the base's folder, else the ones shipped here."""
    return _load(PHRASE_BANK, base_folder)


def load_subject_bank(base_folder: str | Path | None = None) -> tuple[str, ...]:
    """What a picture may show, such as "a dog": those in the base's folder, else the ones shipped here."""
    return _load(SUBJECT_BANK, base_folder)


def load_generic_prompts(base_folder: str | Path | None = None) -> tuple[str, ...]:
    """Whole prompts that have to do with no concept: those in the base's folder, else the ones shipped here."""
    return _load(GENERIC_PROMPTS, base_folder)


def load_calibration_prompts(base_folder: str | Path | None = None) -> tuple[str, ...]:
    """What general image making is asked for, the most telling first: what every one of them needs is nobody's own."""
    return _load(CALIBRATION_PROMPTS, base_folder)


def _load(name: str, base_folder: str | Path | None) -> tuple[str, ...]:
    own = None if base_folder is None else Path(base_folder) / name
    return read_phrases(own if own is not None and own.is_file() else HERE / name)
