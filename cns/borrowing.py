"""What is changed on a shared UNet while it is in use: by the first who needs it, until the last has left.

Threads that learn and draw on one base at the same time overlap as they like. If each put back what it found, whoever
ends first would take the change from under the others, and whoever ends last would leave it there for ever.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn


@dataclass
class _Change:
    """A change that is in place. how: in which way it was made. users: open blocks that need it."""

    undo: ExitStack
    how: Hashable
    users: int = 0


_CHANGES: WeakKeyDictionary[nn.Module, dict[str, _Change]] = WeakKeyDictionary()
_CHANGING = threading.Lock()  # held while a change is made or undone, never while a block runs


@contextmanager
def borrowed(
    module: nn.Module, what: str, change: Callable[[], AbstractContextManager[None]], how: Hashable = None
) -> Iterator[None]:
    """While the block runs, the change named `what` is in place on `module`, whoever else comes and goes.

    change: makes it on entering and undoes it on leaving. It is entered by the first block and left by the last, each
    in its own thread. how: the way in which the change is made. Raises ValueError while it is in place in another way.
    """
    with _CHANGING:
        changes = _CHANGES.setdefault(module, {})
        if what not in changes:
            with ExitStack() as making:
                making.enter_context(change())
                changes[what] = _Change(making.pop_all(), how)
        elif changes[what].how != how:
            raise ValueError(f"{what} is in use with {changes[what].how}, and cannot be had with {how} meanwhile.")
        changes[what].users += 1
    try:
        yield
    finally:
        with _CHANGING:
            changes[what].users -= 1
            if not changes[what].users:
                changes.pop(what).undo.close()
