"""Small versions of stored pictures, made when they are first asked for, and again whenever they are missing."""

import secrets
from io import BytesIO
from pathlib import Path

from PIL import Image

from app.storage import BlobStore

SIZES_PX = (96, 192, 384)


def thumbnail(store: BlobStore, digest: str, size_px: int) -> bytes:
    """A WebP that fits into a square. A smaller original is enlarged without blurring, as its pixels are its character.

    NotFound when the original is not there.
    """
    path = thumbnail_path(store, digest, size_px)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        made = make_thumbnail(store.get(digest), size_px)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    temporary.write_bytes(made)
    temporary.replace(path)  # nobody reads half of it
    return made


def thumbnail_path(store: BlobStore, digest: str, size_px: int) -> Path:
    return thumbnail_folder(store) / str(size_px) / digest[:2] / f"{digest}.webp"


def thumbnail_folder(store: BlobStore) -> Path:
    return store.folder.parent / "thumbnails"


def make_thumbnail(picture: bytes, size_px: int) -> bytes:
    with Image.open(BytesIO(picture)) as opened:
        small = opened.convert("RGB")
    times = size_px // max(small.size)
    if times >= 2:
        small = small.resize((small.width * times, small.height * times), Image.Resampling.NEAREST)
    else:
        small.thumbnail((size_px, size_px), Image.Resampling.LANCZOS)
    file = BytesIO()
    small.save(file, "WEBP", quality=82, method=4)
    return file.getvalue()
