"""The store that the settings name: a folder of this machine or one that is mounted, or a bucket."""

from pathlib import Path

from app.bucket_address import read_bucket_url
from app.config import Settings
from app.folder import Folder
from app.storage import BlobStore

THUMBNAILS = "thumbnails"


def open_store(settings: Settings) -> BlobStore:
    """Nothing has to be there yet, so that a service starts while its storage still does."""
    return bucket_store(settings) if settings.blob_url else folder_store(settings.blob_folder)


def folder_store(folder: Path) -> BlobStore:
    """Blobs in `folder`, and thumbnails in a folder within it, as that is what all processes share and may write to."""
    blobs = Folder(folder, besides=THUMBNAILS)
    blobs.close_to_others()
    return BlobStore(blobs, Folder(folder / THUMBNAILS, durable=False, within=True))


def bucket_store(settings: Settings) -> BlobStore:
    """Blobs and thumbnails under two prefixes of one bucket."""
    from app.bucket import Access, Bucket  # here: a megabyte of client that a folder does not need

    bucket, prefix = read_bucket_url(settings.blob_url)
    access = Access(
        bucket=bucket,
        endpoint=settings.blob_endpoint,
        region=settings.blob_region,
        access_key=settings.blob_access_key,
        secret_key=settings.blob_secret_key,
    )
    below = f"{prefix}/" if prefix else ""
    return BlobStore(Bucket(access, f"{below}blobs"), Bucket(access, f"{below}{THUMBNAILS}"))
