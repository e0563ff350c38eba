"""Stored bytes as answers. They never change, so a browser may keep them; but only for the user who asked."""

from collections.abc import Iterator
from typing import IO, Annotated

from fastapi import Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.background import BackgroundTask

from app.errors import Invalid
from app.state import State
from app.thumbnails import SIZES_PX, thumbnail

KEPT = "private, max-age=31536000, immutable"
CHUNK_BYTES = 1 << 18


async def if_none_match(request: Request) -> str | None:
    """The header of that name."""
    return request.headers.get("if-none-match")


IfNoneMatch = Annotated[str | None, Depends(if_none_match)]


def has_it(if_none_match: str | None, tag: str) -> bool:
    """Whether whoever asks has it already (RFC 9110, 13.1.2); weak or strong makes no difference here."""
    named = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    return "*" in named or f'"{tag}"' in named


def blob_response(
    state: State, digest: str, media_type: str, if_none_match: str | None = None, file_name: str | None = None
) -> Response:
    """A stored file, or 304 without reading it. file_name: to save it under. NotFound when it is missing."""
    headers = {"Cache-Control": KEPT, "ETag": f'"{digest}"'}
    if has_it(if_none_match, digest):
        return Response(status_code=304, headers=headers)
    if file_name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return Response(state.store.get(digest), media_type=media_type, headers=headers)


def thumbnail_response(state: State, digest: str, size: int, if_none_match: str | None = None) -> Response:
    """A small WebP of a stored picture."""
    if size not in SIZES_PX:
        raise Invalid(f"Thumbnails have {', '.join(map(str, SIZES_PX))} pixels, not {size}.", field="size")
    tag = f"{digest}-{size}"
    headers = {"Cache-Control": KEPT, "ETag": f'"{tag}"'}
    if has_it(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(thumbnail(state.store, digest, size), media_type="image/webp", headers=headers)


def stream_file(file: IO[bytes], media_type: str, file_name: str) -> Response:
    """An open file, piece by piece; closed when it has been sent, or when nobody takes it any more."""
    length = file.seek(0, 2)
    file.seek(0)

    def pieces() -> Iterator[bytes]:
        with file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    headers = {"Content-Disposition": f'attachment; filename="{file_name}"', "Content-Length": str(length)}
    return StreamingResponse(pieces(), media_type=media_type, headers=headers, background=BackgroundTask(file.close))
