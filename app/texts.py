"""Text that people and programs send us: made of characters that can be stored and shown, or refused."""

import re

from python_multipart.multipart import parse_options_header

from app.errors import Invalid

# PostgreSQL stores no NUL and UTF-8 knows no lone surrogates; the rest are commands to terminals that show in no page.
_UNWRITTEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def written(text: str, field: str, longest: int, what: str = "This text") -> str:
    """`text` without space around it. Raises Invalid when it is too long or holds what nobody can read."""
    text = text.strip()
    check_written(text, field, what)
    if len(text) > longest:
        raise Invalid(f"{what} has at most {longest} characters, and this one has {len(text)}.", field=field)
    return text


def check_written(text: str, field: str, what: str) -> None:
    """The same of a text that is taken as it is, such as a password."""
    if _UNWRITTEN.search(text):
        raise Invalid(f"{what} holds control characters that cannot be read. Type it anew.", field=field)


def one_line(text: str, field: str, longest: int, what: str = "This text") -> str:
    """The same, with every run of space as one blank."""
    return written(" ".join(text.split()), field, longest, what)


def check_charset(content_type: str) -> None:
    """Raise Invalid for a form with files that says it is written in anything but UTF-8, as every browser writes it.

    The framework would read it as it says, and some of Python's encodings make lone surrogates of plain letters, or
    fail. It is asked for in the same way as the framework does, so that both find the same.
    """
    kind, options = parse_options_header(content_type)
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if kind == b"multipart/form-data" and charset.lower() not in ("utf-8", "utf8"):
        raise Invalid("A form is read as UTF-8, and this one says that it is written in something else.")
