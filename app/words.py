"""Numbers, times and prompts as people read them: with units, relative, with the exact value on hover."""

import re
from datetime import UTC, datetime

from markupsafe import Markup, escape

_TOKEN = re.compile(r"&lt;([A-Za-z0-9_-]{1,60})&gt;")  # as it stands once the text has been escaped
_STEPS = ((60, "second"), (60, "minute"), (24, "hour"), (30, "day"), (12, "month"))


def amount(count: int, noun: str, nouns: str | None = None) -> str:
    """1, "picture" -> "1 picture"; 2 -> "2 pictures"."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def with_article(noun: str) -> str:
    """ "dog" -> "a dog", "umbrella" -> "an umbrella"; by its first letter, which is right nearly always."""
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"


def relative(then: datetime, now: datetime | None = None) -> str:
    """ "3 minutes ago", "just now", "in 2 days"."""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    count, unit = abs(seconds), "year"
    for size, name in _STEPS:
        if count < size:
            unit = name
            break
        count /= size
    if unit == "second" and count < 10:
        return "just now"
    said = amount(int(count), unit)
    return f"{said} ago" if seconds >= 0 else f"in {said}"


def moment(then: datetime) -> str:
    return f"{then.astimezone(UTC):%d %B %Y, %H:%M:%S} UTC"


def ago(then: datetime | None) -> Markup:
    """The relative time, with the exact one on hover."""
    if then is None:
        return Markup("never")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(then.isoformat(), moment(then), relative(then))


def duration(seconds: float | None) -> str:
    """ "40 s", "3 min 20 s", "1 h 5 min"; nothing for what is not known."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    return f"{rest} s"


def in_bytes(count: int) -> str:
    """ "512 bytes", "38 kB", "1.2 MB"."""
    if count < 1000:
        return amount(count, "byte")
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    size, unit = (count / 1_000_000, "MB") if count < 1_000_000_000 else (count / 1_000_000_000, "GB")
    return f"{size:.1f} {unit}" if size < 10 and round(size, 1) % 1 else f"{size:.0f} {unit}"


def number(value: float) -> str:
    """Thousands apart, and no more decimals than say something."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.3g}"


def percent(share: float) -> str:
    """0.0312 -> "3.1 %"."""
    value = 100 * share
    return f"{value:.0f} %" if abs(value) >= 10 or value == 0 else f"{value:.2g} %"


def prompt(text: str) -> Markup:
    """A prompt with its concepts set apart."""
    return Markup(_TOKEN.sub(r'<span class="token">&lt;\1&gt;</span>', str(escape(text))))  # noqa: S704  # escaped just before


def slug(text: str) -> str:
    """A prompt as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50] or "picture"
