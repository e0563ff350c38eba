"""Files that were written for an attempt which was over by then."""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.collect import remove_unused

if TYPE_CHECKING:
    from worker.process import Worker

log = logging.getLogger(__name__)


def forget_files(worker: "Worker", digests: Iterable[str]) -> None:
    """Remove what no row names; they may show what was erased meanwhile. Whatever is left behind, the collector finds.

    Whoever stores the same bytes at this moment has the row of them, and is waited for.
    """
    for digest in set(digests):
        try:
            remove_unused(worker.sessions, worker.store, digest)
        except Exception:
            log.warning("The file %s could not be removed.", digest[:12], exc_info=True)
