"""Who asks."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Caller:
    """session_id and csrf_token: of a browser that is logged in; a program with a key has neither."""

    id: UUID
    name: str
    is_admin: bool
    session_id: UUID | None = None
    csrf_token: str | None = None
