"""What a base model is made of, before it is frozen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@dataclass(frozen=True)
class Components:
    """The parts of a base model that are used: no safety checker, no feature extractor, no scheduler object.

    zeros_for_no_words: whether it was trained with zeros for a picture without words, as SDXL was.
    """

    unet: Any
    vae: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler_config: dict[str, Any]
    zeros_for_no_words: bool = False


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and warnings of diffusers and transformers while the block runs.

    Whoever calls us shows progress in their own way, and what the warnings tell of (missing weights) is an error here.
    """
    logs = (diffusers_logging, transformers_logging)
    before = [(log, log.is_progress_bar_enabled(), log.get_verbosity()) for log in logs]
    for log in logs:
        log.disable_progress_bar()
        log.set_verbosity_error()
    try:
        yield
    finally:
        for log, had_bars, verbosity in before:
            if had_bars:
                log.enable_progress_bar()
            log.set_verbosity(verbosity)
