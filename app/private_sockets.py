"""Where the private servers have their sockets: in a folder that only its user can enter, with a short name."""

import os
import tempfile
from pathlib import Path

LONGEST_BYTES = 103  # of the address of a socket; on Linux it may have four more
NEEDED_BYTES = len("/palimpsest-12345678/.s.PGSQL.5432")


def make_socket_folder() -> Path:
    """Not below the data, as people have long paths; for the same reason not in the folder of TMPDIR whatever it is."""
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) + NEEDED_BYTES > LONGEST_BYTES:
        place = "/tmp"  # noqa: S108 - the folder made in it has a random name and is ours alone
    return Path(tempfile.mkdtemp(prefix="palimpsest-", dir=place))
