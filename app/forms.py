"""Forms of pages: what was typed, read into values, and kept so that it can be shown again beside its error."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from app.errors import AppError, Conflict, Invalid, NotFound, OverQuota, TooLarge, TooMany, Unavailable
from app.idempotency import Once, make_once

AnswerableError = (Conflict, Invalid, OverQuota, TooLarge, TooMany, Unavailable)
"""Errors that are shown in the form that was sent. The others are pages of their own."""


@dataclass(frozen=True)
class Typed:
    """The fields of a form as they were typed. Reading one raises Invalid with its name and a sentence."""

    values: Mapping[str, str]
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Sequence[UploadFile] = ()

    def text(self, name: str) -> str:
        return self.values.get(name, "").strip()

    def whole(self, name: str, label: str) -> int | None:
        """A whole number; None for an empty field."""
        text = self.text(name).replace("\u202f", "").replace(" ", "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise Invalid(f"{label} must be a whole number, and {_shortened(text)} is none.", field=name) from None

    def decimal(self, name: str, label: str) -> float | None:
        """A number, with a point or a comma; None for an empty field."""
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            raise Invalid(f"{label} must be a number, and {_shortened(text)} is none.", field=name) from None
        if value != value or value in (float("inf"), float("-inf")):
            raise Invalid(f"{label} must be an ordinary number.", field=name)
        return value

    def ticked(self, name: str) -> bool:
        return name in self.values

    def ids(self, name: str) -> list[UUID]:
        """All values of that name. NotFound for one that is no id, as for one that does not exist."""
        try:
            return [UUID(text) for text in self.lists.get(name, ())]
        except ValueError:
            raise NotFound("There is nothing of that number.") from None

    def back(self, otherwise: str) -> str:
        """The page that the form stood on, when it says so; never another site."""
        wanted = self.text("back")
        return wanted if wanted.startswith("/") and not wanted.startswith(("//", "/\\")) else otherwise

    def once(self, user_id: UUID, what: str, *asked: object) -> Once | None:
        """The same form sent twice starts one job; the form sent again with other values starts another."""
        token = self.text("once")
        if not token:
            return None
        content = json.dumps([what, asked, {**self.values, "once": ""}], sort_keys=True, default=str)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return make_once(user_id, f"form-{token[:40]}-{digest[:32]}", what, digest)


def _shortened(text: str) -> str:
    """What was typed, in quotes, as far as a sentence can bear."""
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def new_once() -> str:
    """For the hidden field `once` of a form that starts a job."""
    return uuid4().hex


async def typed(request: Request) -> AsyncIterator[Typed]:
    """The form of the request; its files are closed when the answer has been made."""
    form = await request.form()
    said = [(name, value) for name, value in form.multi_items() if isinstance(value, str) and name != "csrf_token"]
    lists: dict[str, list[str]] = {}
    for name, value in said:
        lists.setdefault(name, []).append(value)
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    try:
        yield Typed(dict(said), lists, [file for file in files if file.filename or file.size])
    finally:
        await form.close()


TypedForm = Annotated[Typed, Depends(typed)]


def errors_of(error: AppError) -> dict[str, str]:
    """Field -> sentence, as templates show it; "" for what belongs to no field."""
    return dict(error.errors) or {"": error.message}
