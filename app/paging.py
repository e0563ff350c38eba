"""Long lists by pages: a cursor says where the next page begins, however many rows come or go meanwhile."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel

from app.errors import Invalid

Row = TypeVar("Row")

MOST = 200


class Paging(BaseModel):
    """How many, and from where. after: the sort key of the last row that was seen, as it was put into the cursor."""

    limit: int
    after: str | None


def paging(limit: int, cursor: str | None) -> Paging:
    return Paging(limit=limit, after=None if cursor is None else open_cursor(cursor))


async def _asked(
    limit: Annotated[int, Query(ge=1, le=MOST, description="Rows on a page.")] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before.", max_length=400)] = None,
) -> Paging:
    return paging(limit, cursor)


Page = Annotated[Paging, Depends(_asked)]


def make_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def open_cursor(cursor: str) -> str:
    """Raises Invalid for anything that we did not make."""
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        key = None
    if not isinstance(key, str):
        raise Invalid("This cursor is not one of ours. Begin again without one.", field="cursor")
    return key


def number_after(paging: Paging) -> int | None:
    """The sort key as the whole number it should be."""
    if paging.after is None:
        return None
    try:
        return int(paging.after)
    except ValueError:
        raise Invalid("This cursor belongs to another list.", field="cursor") from None


def moment_key(moment: datetime, row_id: UUID) -> str:
    """The sort key of a row that is ordered by time, and by its id where two came at once."""
    return f"{moment.isoformat()} {row_id}"


def moment_after(paging: Paging) -> tuple[datetime, UUID] | None:
    """Such a key, read again."""
    return None if paging.after is None else read_moment_key(paging.after)


def read_moment_key(key: str) -> tuple[datetime, UUID]:
    moment, _, row_id = key.rpartition(" ")
    try:
        read = datetime.fromisoformat(moment), UUID(row_id)
    except ValueError:
        raise Invalid("This cursor belongs to another list.", field="cursor") from None
    if read[0].tzinfo is None:
        raise Invalid("This cursor belongs to another list.", field="cursor")
    return read


def split_page(rows: Sequence[Row], limit: int, key: Callable[[Row], object]) -> tuple[Sequence[Row], str | None]:
    """`limit` rows, and the cursor of the next page where there are more. `rows`: up to one more than `limit`."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], make_cursor(str(key(rows[limit - 1])))
