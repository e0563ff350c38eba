"""Errors in the shape that clients of OpenAI's interface read."""

from collections.abc import Sequence
from typing import Any

PREFIX = "/v1"


def is_openai(path: str) -> bool:
    """Whether an address belongs to this interface."""
    return path.startswith(f"{PREFIX}/")


def make_error(status: int, kind: str, detail: str, fields: Sequence[str] = ()) -> dict[str, Any]:
    """kind: one of ours, such as "not-found". fields: what cannot be used, of which they name one."""
    field = fields[0] if fields else None
    return {"error": {"message": detail, "type": _type(status), "param": field, "code": kind.replace("-", "_")}}


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
