"""Thumbnails lay beside the folder of stored files before they lay in it. Those are not left there for ever: they show
what was erased since. Whatever is still there is made again when it is asked for.
"""

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from app.config import Settings
from app.stores import THUMBNAILS

log = logging.getLogger(__name__)
_OURS = re.compile(r"\d+/[0-9a-f]{2}/\.?[0-9a-f]{64}\.webp(\.[0-9a-f]+\.part)?")


def remove_old_thumbnails(settings: Settings) -> None:
    """Each process does so at its start, as each machine may have had some of its own. Files of others stay."""
    old = settings.blob_folder.parent / THUMBNAILS
    if settings.blob_url or not old.is_dir():
        return
    try:
        for place, _, names in os.walk(old, topdown=False):
            folder = Path(place)
            for path in (folder / name for name in names):
                if _OURS.fullmatch(path.relative_to(old).as_posix()):
                    path.unlink(missing_ok=True)
            with suppress(OSError):  # there is something else in it
                folder.rmdir()
    except OSError as error:
        log.warning("Thumbnails of an earlier release cannot be removed, and may show what was erased: %s", error)
