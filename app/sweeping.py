"""Files whose last row a request has deleted go as soon as it is answered.

The collector would leave them for an hour or two, and until then they would count for nobody: whoever stored and threw
away over and over could fill the storage past every quota. Whatever cannot be removed now, the collector finds.
"""

from collections.abc import Callable, Iterable
from functools import partial

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.collect import remove_all_unused, remove_unused
from app.logs import log
from app.state import State


async def sweep(state: State, digests: Iterable[str]) -> None:
    """Remove those of these that no row names any more."""
    for digest in set(digests):
        await _try(state, partial(remove_unused, state.sessions, state.store, digest))


async def sweep_all(state: State) -> None:
    """The same with whatever it is that no row names: after a whole history has gone."""
    await _try(state, partial(remove_all_unused, state.sessions, state.store))


async def _try(state: State, remove: Callable[[], None]) -> None:
    """One after another: a history may have thousands of files, and whoever asks for something needs a thread too."""
    try:
        async with state.sweeping:
            await run_in_threadpool(remove)
    except (SQLAlchemyError, OSError) as error:
        log.warning("files_left_behind", error=type(error).__name__)
