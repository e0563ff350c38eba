"""A memory of things used lately, bounded by their size in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(MutableMapping[Key, Value]):
    """Forgets what was not used for longest once all together is more than `most_bytes`.

    The newest entry is kept whatever its size, as somebody has just made it in order to use it. Not for several
    threads at a time.
    """

    def __init__(self, most_bytes: int, size: Callable[[Value], int]):
        self._most, self._size = most_bytes, size
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Size of all that it keeps."""
        return self._bytes

    def __getitem__(self, key: Key) -> Value:
        value = self._kept[key]
        self._kept.move_to_end(key)
        return value

    def __setitem__(self, key: Key, value: Value) -> None:
        if key in self._kept:
            del self[key]
        self._kept[key] = value
        self._bytes += self._size(value)
        while self._bytes > self._most and len(self._kept) > 1:
            del self[next(iter(self._kept))]

    def __delitem__(self, key: Key) -> None:
        self._bytes -= self._size(self._kept.pop(key))

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[Key]:
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)
