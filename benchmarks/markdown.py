"""Tables for pages that programs write."""

from collections.abc import Iterable, Sequence


def make_table(heads: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1) -> str:
    """A Markdown table; numbers with three decimals, tiny ones by their power of ten.

    words: how many columns, from the left, are words and stand to the left; the others stand to the right.
    """
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * words + "---:|" * (len(heads) - words)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def _cell(content: object) -> str:
    if not isinstance(content, float):
        return str(content)
    return f"{content:.3f}" if content == 0 or abs(content) >= 0.001 else f"{content:.1e}"
