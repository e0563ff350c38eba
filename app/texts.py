"""Text that people and programs send us: made of characters that can be stored and shown, or refused."""

import re

from app.errors import Invalid

# PostgreSQL stores no NUL and UTF-8 knows no lone surrogates; the rest are commands to terminals that show in no page.
_UNWRITTEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def written(text: str, field: str, longest: int, what: str = "This text") -> str:
    """`text` without space around it. Raises Invalid when it is too long or holds what nobody can read."""
    text = text.strip()
    if _UNWRITTEN.search(text):
        raise Invalid(f"{what} holds control characters that cannot be read. Type it anew.", field=field)
    if len(text) > longest:
        raise Invalid(f"{what} has at most {longest} characters, and this one has {len(text)}.", field=field)
    return text


def one_line(text: str, field: str, longest: int, what: str = "This text") -> str:
    """The same, with every run of space as one blank."""
    return written(" ".join(text.split()), field, longest, what)
