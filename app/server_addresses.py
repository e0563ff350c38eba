"""How the places of the database and the broker are written."""

from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+psycopg"
WITHOUT_DRIVER = ("postgres", "postgresql")  # as hosts and PostgreSQL's own programs write it
A_DATABASE = "a database is written postgresql://name@host:5432/database"


def read_database_url(url: str) -> str:
    """The same with its driver, as SQLAlchemy wants it. ValueError with a sentence, which does not repeat the address,
    as there may be a password in it.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):  # such as a port that is no number
        raise ValueError(A_DATABASE) from None
    name = address.drivername
    if name in WITHOUT_DRIVER:
        return DRIVER + url.removeprefix(name)
    if not name.startswith("postgresql+"):
        raise ValueError(f"{A_DATABASE}; {name} is none that can be used")
    try:
        address.get_dialect().import_dbapi()
    except (ArgumentError, ImportError):  # unknown to SQLAlchemy, or not installed
        raise ValueError(f"{A_DATABASE}; the driver {name.partition('+')[2]} is not there") from None
    return url


def read_broker_url(url: str) -> str:
    """As it is. ValueError with a sentence."""
    try:
        parts = urlsplit(url)
        known = bool(parts.path) if parts.scheme == "unix" else parts.scheme in ("redis", "rediss") and parts.port != 0
    except ValueError:  # a port that is no number
        known = False
    if not known:
        raise ValueError(
            "a broker is written redis://host:6379/0, rediss://host:6379/0 over TLS, or unix:///its/socket"
        )
    return url
