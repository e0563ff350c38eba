"""Small versions of stored pictures, made when they are first asked for, and again whenever they are missing."""

from io import BytesIO

from PIL import Image

from app.errors import NotFound
from app.storage import BlobStore

SIZES_PX = (96, 192, 384)


def thumbnail(store: BlobStore, digest: str, size_px: int) -> bytes:
    """A WebP that fits into a square. A smaller original is enlarged without blurring, as its pixels are its character.

    NotFound when the original is not there.
    """
    name = thumbnail_name(digest, size_px)
    try:
        return store.thumbnails.read(name)
    except FileNotFoundError:
        made = make_thumbnail(store.get(digest), size_px)
    store.thumbnails.write(name, made)
    if not store.has(digest):  # it was erased since it was read, and whoever did that may have looked here already
        store.thumbnails.remove(name)
        raise NotFound(f"The stored file {digest[:12]} is missing.")
    return made


def thumbnail_name(digest: str, size_px: int) -> str:
    return f"{size_px}/{digest[:2]}/{digest}.webp"


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
