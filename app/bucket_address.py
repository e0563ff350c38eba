"""How the place of a bucket is written."""

from urllib.parse import urlsplit


def read_bucket_url(url: str) -> tuple[str, str]:
    """s3://bucket/some/prefix -> (bucket, prefix), whose prefix may be empty. ValueError with a sentence."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("a bucket is written s3://bucket or s3://bucket/prefix; its keys have settings of their own")
    return parts.netloc, parts.path.strip("/")
